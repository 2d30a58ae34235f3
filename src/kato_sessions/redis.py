"""Sessions in Redis 6.2 or Valkey: core commands only, every change one Lua script.

    session:{id}                    the record, a JSON string
    session-items:{id}              list of items, one JSON string each
    session-workspace:{id}          opaque text
    session-turn:{id}               who commits next, after losing several times; for 0.5 s
    session-keys:{id}               hash: idempotency key -> "first last" sequence number
    session-index:expiry            zset of live sessions by deadline, +inf = never
    session-index:created           zset of all records by creation
    session-index:due               zset of what a sweep must look at, by time
    session-index:owners            hash: id -> [user_id, node_id], to clean up after native expiry
    session-index:user:{u}, ...     the first two again per user and per node

A `prefix=` in the URL's query replaces `session:`. All keys of a session get one deadline in the
same script, so that Redis removes them together. One server, not a cluster.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from kato_sessions import lua
from kato_sessions.backend import (
    Change,
    Filter,
    Full,
    Limits,
    Position,
    Record,
    Write,
    matches,
    parsed_items,
    parsed_session,
    readable_session,
    set_aside,
)
from kato_sessions.errors import InvalidSession, RecordCorrupt, StoreUnavailable
from kato_sessions.gate import Gate
from kato_sessions.model import Item, Session, dumps
from kato_sessions.redis_keys import Keys, split_prefix

_CONTEND_S = 10.0
_PATIENCE = 3
_CHUNK = 500


class RedisBackend:
    """Optimistic: a change is computed from what was read and committed only if that still holds.

    `grace_ms` is how much longer than its deadline Redis keeps a session, for a sweep to archive it
    or to note its end; 0 leaves expiry to Redis alone.
    """

    def __init__(self, url: str, *, grace_ms: int = 0) -> None:
        server, prefix = split_prefix(url)
        self._keys = Keys(prefix)
        self._grace_ms = grace_ms
        self._server = server
        self._asking, self._parsing = Gate(3), Gate(1)
        try:
            self._redis = Redis.from_url(server, decode_responses=True, socket_timeout=30)
        except ValueError as error:
            raise InvalidSession(f"store {url!r}: {error}") from error
        self._scripts = {
            name: self._redis.register_script(text)
            for name, text in (
                ("commit", lua.COMMIT),
                ("remove", lua.REMOVE),
                ("items", lua.ITEMS),
                ("lease", lua.LEASE),
            )
        }
        self._ask("PING")

    # Changes

    def insert(self, session_id: str, change: Change, limits: Limits) -> Session | Full:
        written = self._contend(session_id, change, limits)
        if written is None:
            raise StoreUnavailable(f"nothing to insert for {session_id!r}")
        return written

    def update(self, session_id: str, change: Change) -> Session | None:
        written = self._contend(session_id, change, None)
        return None if isinstance(written, Full) else written

    def remove(self, session_id: str, *, due_at: int | None, whatever: bool = False) -> bool:
        owners = json.loads(
            self._ask("HGET", self._keys.index("owners"), session_id) or "[null, null]"
        )
        keys = [*self._keys.of(session_id), *self._keys.owned("expiry", *owners)]
        keys += self._keys.owned("created", *owners)
        seen = "*" if whatever else "" if due_at is None else str(due_at)
        return bool(self._run("remove", keys, [session_id, seen]))

    def lease(self, name: str, holder: str, *, now: int, ttl_ms: int) -> bool:
        key = self._keys.named("lease", name)
        return bool(self._run("lease", [key], [holder, now, now + ttl_ms]))

    # Reading

    def read(self, session_id: str) -> Session | None:
        text = self._ask("GET", self._keys.of(session_id)[0])
        return parsed_session(session_id, text) if text else None

    def read_with_workspace(self, session_id: str) -> tuple[Session, str] | None:
        document, _, workspace, *_ = self._keys.of(session_id)
        text, kept = self._ask("MGET", document, workspace)
        return (parsed_session(session_id, text), kept or "") if text else None

    def read_record(self, session_id: str) -> Record | None:
        document, items, workspace, *_ = self._keys.of(session_id)
        try:
            with self._redis.pipeline(transaction=True) as both:
                both.get(document)
                both.get(workspace)
                both.lrange(items, 0, -1)
                text, kept, entries = both.execute()
        except RedisError as error:
            raise self._unavailable(error) from error
        if not text:
            return None
        return Record(
            session=parsed_session(session_id, text),
            items=tuple(parsed_items(session_id, f"[{','.join(entries)}]")),
            workspace=kept or "",
        )

    def items(
        self, session_id: str, *, after: int, before: int | None, limit: int, newest: bool
    ) -> list[Item]:
        window = [after, "" if before is None else before, limit, int(newest)]
        with self._asking.turn():
            listed = self._run("items", [self._keys.of(session_id)[1]], window)
        with self._parsing.turn():  # the server reads for the next one meanwhile
            return parsed_items(session_id, listed)

    def keyed_items(self, session_id: str, key: str) -> list[Item]:
        span = self._ask("HGET", self._keys.of(session_id)[3], key)
        if not span:
            return []
        first, last = map(int, span.split())
        return self.items(session_id, after=first - 1, before=last + 1, limit=last, newest=False)

    def page(self, wanted: Filter, *, after: Position | None, limit: int) -> list[Session]:
        key = self._keys.narrowest("created", wanted)
        start = self._rank_after(key, after) if after else 0
        found: list[Session] = []
        while len(found) < limit:
            ids = self._ask("ZREVRANGE", key, start, start + max(_CHUNK, limit) - 1)
            if not ids:
                break
            found += [
                session
                for session in self._sessions(ids)
                if matches(wanted, session)
                and (after is None or (session.created_at, session.id) < after)
            ]
            start += len(ids)
        return found[:limit]

    def count(self, wanted: Filter) -> int:
        if wanted.user_id is not None and wanted.node_id is not None:
            return sum(matches(wanted, one) for one in self._all(wanted))
        if wanted.live_at is None:
            return sum(1 for _ in self._all(wanted))
        key = self._keys.narrowest("expiry", wanted)
        return int(self._ask("ZCOUNT", key, f"({wanted.live_at}", "+inf"))

    def due(self, *, now: int, limit: int) -> list[str]:
        """What Redis removed by itself is taken from the indexes here, and is not listed."""
        key = self._keys.index("due")
        ids = self._ask("ZRANGEBYSCORE", key, "-inf", now, "LIMIT", 0, limit)
        there = [found for found in ids if self._ask("EXISTS", self._keys.of(found)[0])]
        for gone in set(ids) - set(there):
            self.remove(gone, due_at=None, whatever=True)
        return there

    def oldest_idle(self, wanted: Filter) -> str | None:
        idle = [
            (session.last_access, session.id)
            for session in self._all(wanted)
            if session.expires_at is not None
        ]
        return min(idle)[1] if idle else None

    def size_bytes(self) -> int:
        """The memory Redis uses, for all it holds."""
        return int(self._redis.info("memory")["used_memory"])

    def corrupt(self, *, quarantine: bool) -> Iterator[tuple[str, str]]:
        """Records and items that do not parse; quarantined ones go to `session-quarantine:{id}`."""
        for session_id in self._ask("ZRANGE", self._keys.index("created"), 0, -1):
            place = self._keys.named("quarantine", session_id)
            try:
                session = self.read(session_id)
            except RecordCorrupt as error:
                if quarantine:
                    self._ask("RENAME", self._keys.of(session_id)[0], place)
                    self.remove(session_id, due_at=None, whatever=True)
                yield session_id, str(error)
                continue
            for index, seq, text in self._broken_items(session) if session else ():
                if quarantine:
                    stand_in = dumps(set_aside(session_id, seq).to_json())
                    self._ask("RPUSH", f"{place}:items", text)
                    self._ask("LSET", self._keys.of(session_id)[1], index, stand_in)
                yield f"{session_id}, item {seq}", "cannot be read"

    def _broken_items(self, session: Session) -> Iterator[tuple[int, int, str]]:
        """Place in the list, sequence number and text; items are numbered without gaps."""
        texts = self._ask("LRANGE", self._keys.of(session.id)[1], 0, -1)
        first = session.counters.items - len(texts) + 1
        for index, text in enumerate(texts):
            try:
                parsed_items(session.id, f"[{text}]")
            except RecordCorrupt:
                yield index, first + index, text

    def info(self) -> dict[str, Any]:
        return {"type": "redis", "place": self._server}

    def close(self) -> None:
        self._redis.close()

    # Steps

    def _contend(
        self, session_id: str, change: Change, limits: Limits | None
    ) -> Session | Full | None:
        give_up = time.monotonic() + _CONTEND_S
        text = self._ask("GET", self._keys.of(session_id)[0]) or ""
        turn = ""
        for attempt in count():
            if time.monotonic() > give_up:
                break
            if attempt == _PATIENCE:
                turn = uuid.uuid4().hex
            found = parsed_session(session_id, text) if text else None
            write = change(found)
            if write is None:
                return found
            answer, *newer = self._commit(write, found, _seen(text), limits, turn=turn)
            if answer == "done":
                return write.session
            if answer.startswith("full"):
                return Full(user_id=write.session.user_id if answer == "full1" else None)
            text = newer[0]
            if answer == "wait":
                time.sleep(0.001)
        raise StoreUnavailable(f"session {session_id!r}: too many writers for {_CONTEND_S:g} s")

    def _commit(
        self,
        write: Write,
        found: Session | None,
        seen: str,
        limits: Limits | None,
        *,
        turn: str = "",
    ) -> list[str]:
        spec = {
            **lua.commit_spec(write, grace_ms=self._grace_ms),
            **self._keys.commit_spec(write.session, found),
            "seen": seen,
            "turn": turn,
            "now": str(limits.now) if limits else "0",
            "limits": [limits.per_user, limits.in_all] if limits else [],
        }
        items = [dumps(item.to_json()) for item in write.items]
        arguments = [
            json.dumps(spec),
            dumps(write.session.to_json()),
            write.workspace or "",
            *items,
        ]
        return list(self._run("commit", self._keys.of(write.session.id), arguments))

    def _rank_after(self, key: str, after: Position) -> int:
        rank = self._ask("ZREVRANK", key, after[1])
        if rank is not None:
            return int(rank) + 1
        return int(self._ask("ZCOUNT", key, f"({after[0]}", "+inf"))

    def _sessions(self, ids: Sequence[str]) -> list[Session]:
        texts = self._ask("MGET", *(self._keys.of(found)[0] for found in ids))
        pairs = zip(ids, texts, strict=True)
        found = (readable_session(session_id, text) for session_id, text in pairs if text)
        return list(filter(None, found))

    def _all(self, wanted: Filter) -> Iterator[Session]:
        ids = self._ask("ZRANGE", self._keys.narrowest("created", wanted), 0, -1)
        for start in range(0, len(ids), _CHUNK):
            yield from (
                one for one in self._sessions(ids[start : start + _CHUNK]) if matches(wanted, one)
            )

    def _ask(self, *command: Any) -> Any:
        try:
            return self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except RedisError as error:
            raise self._unavailable(error) from error

    def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        try:
            return self._scripts[script](keys=keys, args=arguments)
        except RedisError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: RedisError) -> StoreUnavailable:
        return StoreUnavailable(
            f"session store {self._server} did not answer: {error}",
            hint="start Redis, or use --store sqlite:PATH",
        )


def _seen(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() if text else ""
