"""The contract of a session store: every rule of sessions, over any backend that keeps records."""

import secrets
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, Self

from kato_sessions import life
from kato_sessions.backend import Backend, Filter, Full, Limits, Record, Write
from kato_sessions.cipher import Cipher
from kato_sessions.errors import (
    InvalidSession,
    RecordCorrupt,
    SessionExists,
    SessionLimit,
    SessionNotFound,
    VersionConflict,
)
from kato_sessions.guard import Guard, Redact, checked_object, open_session
from kato_sessions.model import (
    DEFAULT_ID,
    Affinity,
    Clock,
    Item,
    Json,
    Session,
    State,
    checked_id,
    checked_name,
    checked_ttl,
    now_ms,
    touched,
)
from kato_sessions.paging import Page, page_of, position_of
from kato_sessions.profile import Profile

_EVICTIONS_PER_CREATE = 100
PAGE_MAX = 1000
_ALL = 1 << 53
FROM_PROFILE = -1
Audit = Callable[[int, str, str, Json], None]


class Store:
    """Sessions in one place; sync, thread-safe, and safe beside other processes (except memory).

    Every change is one atomic step in the store. Times are UTC ms, durations ms, None = never.
    A session that is unknown, expired, deleted or archived raises `SessionNotFound`, whose `code`
    says which. `redact` sees every item before it is written, and context and metadata as the data
    of an item of that kind; `audit` is told of every access and change; `cipher` seals what is
    kept. A session sealed with a key that is not given raises `SessionSealed` and stays as it is.
    """

    def __init__(
        self,
        backend: Backend,
        profile: Profile,
        *,
        clock: Clock = now_ms,
        redact: Redact | None = None,
        audit: Audit | None = None,
        cipher: Cipher | None = None,
    ) -> None:
        self.guard = Guard(redact, cipher)
        self.backend = self.guard.before(backend)
        self.profile = profile
        self.clock = clock
        self._audit = audit

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.backend.close()

    # Making and finding

    def create(
        self,
        session_id: str | None = None,
        *,
        node_id: str | None = None,
        user_id: str | None = None,
        ttl_ms: int | None = FROM_PROFILE,
        idle_ttl_ms: int | None = FROM_PROFILE,
        max_life_ms: int | None = FROM_PROFILE,
        config: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Session:
        """Make a session; without an id one is made up in the profile's form.

        `ttl_ms` sets the profile's main clock (sliding, or absolute where nothing extends) and
        None there means "never"; `idle_ttl_ms` and `max_life_ms` set each clock by itself.
        The default session never expires. The id of an expired or deleted session may be used
        again. Raises SessionExists, SessionLimit (where the profile rejects), InvalidSession.
        """
        idle, most = self._clocks(ttl_ms, idle_ttl_ms, max_life_ms)
        session_id = self.new_id() if session_id is None else checked_id(session_id)
        if session_id == DEFAULT_ID:
            idle = most = None
        fresh = life.born(
            session_id,
            self.clock(),
            user_id=checked_name("user_id", user_id),
            node_id=checked_name("node_id", node_id),
            idle_ttl_ms=idle,
            max_life_ms=most,
            exact=self.profile.exact_touch,
            config=checked_object("config", config),
            metadata=self.guard.clean("metadata", metadata),
            context=self.guard.clean("context", context),
        )
        return self._insert(fresh)

    def default(self) -> Session:
        """The reserved session of callers that name none; it never expires."""
        try:
            return self.get(DEFAULT_ID)
        except SessionNotFound:
            try:
                return self.create(DEFAULT_ID)
            except SessionExists:
                return self.get(DEFAULT_ID)

    def new_id(self) -> str:
        if self.profile.id_form == "session-hex":
            return f"session-{secrets.token_hex(16)}"
        return str(uuid.uuid4())

    def get(self, session_id: str, *, touch: bool = False) -> Session:
        """The live session; `touch=True` marks an operation, which restarts the idle clock."""
        session = self._live(session_id, self.backend.read(session_id))
        self._note("read", session_id)
        return self._refreshed(session, touch=touch)

    def peek(self, session_id: str) -> Session | None:
        """The record in whatever state, or None; refreshes nothing."""
        session = self.backend.read(session_id)
        if session is None:
            return None
        self._note("read", session_id)
        return replace(session, state=session.state_at(self.clock()))

    def exists(self, session_id: str) -> bool:
        """Whether it is live; refreshes nothing."""
        session = self.backend.read(session_id)
        return session is not None and session.is_live(self.clock())

    def list(
        self,
        *,
        user_id: str | None = None,
        node_id: str | None = None,
        live: bool = True,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page:
        """A page of sessions, newest first, without items; `live=False` gives every record."""
        if not 0 < limit <= PAGE_MAX:
            raise InvalidSession(f"limit {limit}: use 1 to {PAGE_MAX}")
        wanted = self._filter(user_id, node_id, live=live)
        after = position_of(cursor) if cursor else None
        sessions = self.backend.page(wanted, after=after, limit=limit + 1)
        page = page_of(sessions, limit)
        self._note("list", "", user_id=user_id, node_id=node_id, found=len(page.sessions))
        return page

    def every(
        self, *, user_id: str | None = None, node_id: str | None = None, live: bool = True
    ) -> Iterator[Session]:
        """All of them, newest first, a page at a time; `live=False` gives every record."""
        cursor = None
        while True:
            page = self.list(
                user_id=user_id, node_id=node_id, live=live, cursor=cursor, limit=PAGE_MAX
            )
            yield from page.sessions
            cursor = page.cursor
            if cursor is None:
                return

    def count(
        self, *, user_id: str | None = None, node_id: str | None = None, live: bool = True
    ) -> int:
        """The exact number of sessions at this moment."""
        return self.backend.count(self._filter(user_id, node_id, live=live))

    # History

    def append(
        self,
        session_id: str,
        items: Iterable[Item],
        *,
        patch: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[Item, ...]:
        """Add items to the end and give them back as stored; never conflicts, all or nothing.

        A key (also an item's own) that was used before in this session writes nothing and gives
        the items of then. `patch` merges into the session in the same write, as `patch()` does.
        """
        checked = [self.guard.prepared(item) for item in items]
        own = (item.idempotency_key for item in checked)
        key = checked_name("idempotency_key", idempotency_key or next(filter(None, own), None))
        clean = self.guard.checked_patch(patch or {})
        stored: tuple[Item, ...] = ()

        def change(found: Session | None) -> Write | None:
            nonlocal stored
            session = self._live(session_id, found)
            if key:
                stored = tuple(self.backend.keyed_items(session_id, key))
                if stored:
                    return None
            stored = life.numbered(session, checked, self.clock(), key)
            session = self._written(session, clean)
            counters = life.counted(session.counters, stored)
            return Write(
                session=replace(session, counters=counters),
                items=stored,
                keep_items=self.profile.max_items or None,
            )

        self.backend.update(session_id, change)
        self._note("append", session_id, items=len(stored))
        return stored

    def items(
        self,
        session_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        newest: bool | None = None,
    ) -> Sequence[Item]:
        """A window of the history in order of `seq`; without bounds the newest ones.

        `after` and `before` are sequence numbers, not included. Reads any state of session, so
        that an expired history can still be shown; an unknown session gives an empty list.
        """
        if newest is None:
            newest = after == 0
        size = self.profile.window if limit is None else limit
        found = self.backend.items(
            session_id, after=after, before=before, limit=size, newest=newest
        )
        self._note("history", session_id, items=len(found))
        return self.guard.readable(found)

    # Changing

    def patch(
        self,
        session_id: str,
        merge: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        replace_values: bool = False,
    ) -> Session:
        """Merge into `config`, `metadata`, `context` inside the store and give the new session.

        Merging follows RFC 7396: objects merge, null removes. `replace_values` sets the given
        ones whole. Raises VersionConflict, with both versions, if `expected_version` is not it.
        """
        clean = self.guard.checked_patch(merge)

        def change(found: Session | None) -> Write:
            session = self._live(session_id, found)
            _expect(session.id, expected_version, session.version)
            return Write(session=self._written(session, clean, replace_values=replace_values))

        return self._changed("patch", session_id, change)

    def workspace(self, session_id: str, *, touch: bool = True) -> tuple[Session, str]:
        """The live session and its workspace, an opaque text of the application ("" at first)."""
        found = self.backend.read_with_workspace(session_id)
        session = self._live(session_id, found and found[0])
        text = found[1] if found else ""
        self._note("use", session_id)
        return self._refreshed(session, touch=touch), text

    def put_workspace(
        self, session_id: str, text: str, *, expected_rev: int | None = None
    ) -> Session:
        """Replace the workspace; the cheap door for large state that changes at every operation.

        Raises VersionConflict if `expected_rev` is not the session's `workspace_rev`: read with
        `workspace()`, work, put, and on a conflict begin again. It leaves `version` alone.
        """

        def change(found: Session | None) -> Write:
            session = self._live(session_id, found)
            _expect(session.id, expected_rev, session.workspace_rev)
            now = self.clock()
            session = replace(self._touched(session), last_write=max(now, session.last_write))
            return Write(
                session=replace(session, workspace_rev=session.workspace_rev + 1), workspace=text
            )

        session = self._update(session_id, change)
        self._note("workspace", session_id)
        return session

    def set_affinity_if_absent(self, session_id: str, affinity: Affinity) -> Affinity:
        """Bind the session unless it is bound; the answer is the binding that holds."""

        def change(found: Session | None) -> Write | None:
            session = self._live(session_id, found)
            if session.affinity:
                return None
            bound = replace(session, affinity=affinity, version=session.version + 1)
            return Write(session=bound)

        session = self._update(session_id, change)
        return session.affinity or affinity

    def touch(self, session_id: str) -> Session:
        """Restart the idle clock; coalesced, so most calls write nothing."""
        return self._restarted(self._live(session_id, self.backend.read(session_id)))

    def extend(self, session_id: str, ttl_ms: int | None) -> Session:
        """Give it `ttl_ms` from now, and as its TTL from now on; None = it never expires."""
        checked_ttl("ttl", ttl_ms)

        def change(found: Session | None) -> Write:
            session = self._live(session_id, found)
            exact = self.profile.exact_touch
            return Write(session=life.extended(session, self.clock(), ttl_ms, exact=exact))

        return self._changed("extend", session_id, change)

    # Ending

    def delete(self, session_id: str) -> Session:
        """Remove all it holds at once; a tombstone keeps late writers from bringing it back.

        An expired session can be deleted too. Raises SessionNotFound if there is none.
        """

        def change(found: Session | None) -> Write:
            session = self._recorded(session_id, found)
            ended = life.deleted(session, self.clock(), self.profile.tombstone_ms)
            return Write(session=ended, keep_items=0, workspace="")

        return self._changed("delete", session_id, change)

    def expire(self, session_id: str) -> Session:
        """End it now; its record and history stay readable through `peek` and `items`."""

        def change(found: Session | None) -> Write:
            session = self._live(session_id, found)
            now = self.clock()
            return Write(session=life.expired(session, now, now, self._keep_expired_ms()))

        return self._changed("expire", session_id, change)

    def end(self, session_id: str, *, how: Literal["purge", "soft"]) -> bool:
        """Finish one whose deadline has passed; False if it was refreshed meanwhile or is gone."""
        if how == "purge":
            return self._purge(session_id)
        ended = False

        def change(found: Session | None) -> Write | None:
            nonlocal ended
            now = self.clock()
            ended = bool(found and found.state is State.ACTIVE and not found.is_live(now))
            if not found or not ended:
                return None
            expired_at = found.expires_at or now
            return Write(session=life.expired(found, now, expired_at, self._keep_expired_ms()))

        self.backend.update(session_id, change)
        if ended:
            self._note("expire", session_id)
        return ended

    def archived(self, session_id: str) -> Session:
        """Mark as archived and drop what the archive now holds."""

        def change(found: Session | None) -> Write:
            session = self._recorded(session_id, found)
            ended = life.archived(session, self.clock(), self.profile.archive_keep_ms)
            return Write(session=ended, keep_items=0, workspace="")

        return self._changed("archive", session_id, change)

    def due(self, limit: int = PAGE_MAX) -> Sequence[Session]:
        """Sessions past their deadline and ended ones past their retention, for a sweep.

        Corrupt ones are left out: `doctor.examine` finds them.
        """
        found = []
        for session_id in self.backend.due(now=self.clock(), limit=limit):
            with suppress(RecordCorrupt):
                found.append(self.backend.read(session_id))
        return [session for session in found if session]

    def lease(self, name: str, holder: str, ttl_ms: int) -> bool:
        """Take or renew a lease; False while another holder's runs."""
        return self.backend.lease(name, holder, now=self.clock(), ttl_ms=ttl_ms)

    # Whole records

    def record(self, session_id: str) -> Record:
        """The session with all its items and workspace, in whatever state but deleted."""
        record = self.backend.read_record(session_id)
        self._recorded(session_id, record.session if record else None)
        if record is None:
            raise SessionNotFound(session_id)
        self.guard.readable(record.items)
        self._note("export", session_id)
        return self.guard.opened(record)

    def at_rest(self, record: Record) -> Record:
        """As it may lie about outside the store: redacted, and sealed where the store seals."""
        return self.guard.at_rest(record)

    def opened(self, record: Record) -> Record:
        """The opposite of `at_rest`; raises SessionSealed without the key."""
        return self.guard.opened(record)

    def rewrite(self, session_id: str) -> bool:
        """Write it as it is under the present redaction and key; False if it holds nothing."""

        def change(found: Session | None) -> Write | None:
            if found is None or found.state in {State.ARCHIVED, State.DELETED}:
                return None
            record = self.guard.cleaned(self._whole(open_session(found)))
            return _written_whole(record)

        found = self.backend.update(session_id, change)
        rewritten = found is not None and found.state not in {State.ARCHIVED, State.DELETED}
        if rewritten:
            self._note("rewrite", session_id)
        return rewritten

    def put_record(self, record: Record, *, overwrite: bool = False) -> Session:
        """Store a record exactly as it is; raises SessionExists over a live one."""
        session_id = checked_id(record.session.id)
        record = self.guard.cleaned(self.guard.opened(record))

        def change(found: Session | None) -> Write:
            if not overwrite and found and found.is_live(self.clock()):
                raise SessionExists(f"session {session_id!r} exists")
            return _written_whole(record)

        self.backend.update(session_id, change)
        self._note("import", session_id)
        return record.session

    # Steps

    def _insert(self, fresh: Session) -> Session:
        def change(found: Session | None) -> Write:
            if found and found.is_live(fresh.created_at):
                raise SessionExists(f"session {fresh.id!r} exists", hint="choose another id")
            return Write(session=life.reborn(fresh, found), keep_items=0, workspace="")

        limits = self._limits(fresh)
        for _ in range(_EVICTIONS_PER_CREATE):
            made = self.backend.insert(fresh.id, change, limits)
            if isinstance(made, Session):
                self._note("create", made.id)
                return made
            self._make_room(made)
        raise SessionLimit("too many others are creating sessions at this moment")

    def _limits(self, fresh: Session) -> Limits:
        if fresh.id == DEFAULT_ID:
            return Limits(now=fresh.created_at)
        return Limits(
            now=fresh.created_at,
            in_all=self.profile.max_sessions,
            per_user=self.profile.max_sessions_per_user if fresh.user_id else 0,
        )

    def _make_room(self, full: Full) -> None:
        limit = self.profile.max_sessions_per_user if full.user_id else self.profile.max_sessions
        whose = f"user {full.user_id!r} has" if full.user_id else "there are"
        message = f"{whose} {limit} live sessions, the limit"
        if self.profile.on_limit == "reject":
            raise SessionLimit(message, hint="kato sessions delete ID")
        victim = self.backend.oldest_idle(self._filter(full.user_id, None, live=True))
        if victim is None:
            raise SessionLimit(message, hint="kato sessions delete ID")
        self._evict(victim)

    def _evict(self, session_id: str) -> None:
        """End the one idle longest: it expires now, and the next sweep archives or purges it."""

        def change(found: Session | None) -> Write | None:
            now = self.clock()
            if found is None or not found.is_live(now):
                return None
            return Write(session=life.expired(found, now, now, self._keep_expired_ms()))

        self.backend.update(session_id, change)
        self._note("evict", session_id)

    def _purge(self, session_id: str) -> bool:
        session = self.backend.read(session_id)
        now = self.clock()
        if session is None or session.due_at is None or session.due_at > now:
            return False
        removed = self.backend.remove(session_id, due_at=session.due_at)
        if removed:
            self._note("purge", session_id)
        return removed

    def _update(self, session_id: str, change: Callable[[Session | None], Write | None]) -> Session:
        session = self.backend.update(session_id, change)
        if session is None:
            raise SessionNotFound(session_id)
        return session

    def _changed(self, action: str, session_id: str, change: Callable[..., Write]) -> Session:
        session = self._update(session_id, change)
        self._note(action, session_id, version=session.version)
        return session

    def _refreshed(self, session: Session, *, touch: bool) -> Session:
        on = self.profile.touch_on
        return self._restarted(session) if on == "any" or (on == "op" and touch) else session

    def _restarted(self, session: Session) -> Session:
        if self._touched(session) is session:
            return session

        def change(found: Session | None) -> Write:
            return Write(session=self._touched(self._live(session.id, found)))

        return self._update(session.id, change)

    def _touched(self, session: Session) -> Session:
        return touched(session, self.clock(), exact=self.profile.exact_touch)

    def _written(
        self, session: Session, patch: Mapping[str, Any] | None, *, replace_values: bool = False
    ) -> Session:
        session = self._touched(session)
        session = replace(session, last_write=max(self.clock(), session.last_write))
        return life.patched(session, patch, replace_values=replace_values) if patch else session

    def _whole(self, session: Session) -> Record:
        """All of a session, asked for inside a change of it."""
        found = self.backend.read_with_workspace(session.id)
        items = self.backend.items(session.id, after=0, before=None, limit=_ALL, newest=False)
        return Record(
            session=session,
            items=tuple(self.guard.readable(items)),
            workspace=found[1] if found else "",
        )

    def _live(self, session_id: str, session: Session | None) -> Session:
        if session is None:
            raise SessionNotFound(session_id)
        now = self.clock()
        if not session.is_live(now):
            raise SessionNotFound(session_id, code=f"session_{session.state_at(now)}")
        return open_session(session)

    def _recorded(self, session_id: str, session: Session | None) -> Session:
        if session is None:
            raise SessionNotFound(session_id)
        if session.state is State.DELETED:
            raise SessionNotFound(session_id, code="session_deleted")
        return session

    def _filter(self, user_id: str | None, node_id: str | None, *, live: bool) -> Filter:
        return Filter(user_id=user_id, node_id=node_id, live_at=self.clock() if live else None)

    def _clocks(
        self, ttl_ms: int | None, idle_ttl_ms: int | None, max_life_ms: int | None
    ) -> tuple[int | None, int | None]:
        idle, most = self.profile.idle_ttl_ms, self.profile.max_life_ms
        if ttl_ms != FROM_PROFILE and idle is None and most is not None:
            most = ttl_ms
        elif ttl_ms != FROM_PROFILE:
            idle = ttl_ms
        idle = idle if idle_ttl_ms == FROM_PROFILE else idle_ttl_ms
        most = most if max_life_ms == FROM_PROFILE else max_life_ms
        return checked_ttl("idle_ttl_ms", idle), checked_ttl("max_life_ms", most)

    def _keep_expired_ms(self) -> int | None:
        """What is to be archived is due at once, until the archive has it."""
        return 0 if self.profile.on_expire == "archive" else self.profile.keep_expired_ms

    def _note(self, action: str, session_id: str, **facts: Any) -> None:
        if self._audit:
            self._audit(self.clock(), action, session_id, facts)


def _written_whole(record: Record) -> Write:
    return Write(
        session=record.session, items=record.items, keep_items=0, workspace=record.workspace
    )


def _expect(session_id: str, expected: int | None, actual: int) -> None:
    if expected is not None and expected != actual:
        raise VersionConflict(session_id, expected=expected, actual=actual)
