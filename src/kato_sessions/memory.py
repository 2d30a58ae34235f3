"""Sessions in this process only: fast, gone when it ends."""

import threading
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from kato_sessions.backend import (
    Change,
    Filter,
    Full,
    Limits,
    Position,
    Record,
    Write,
    full,
    matches,
)
from kato_sessions.model import Item, Session, dumps, plain


@dataclass(slots=True)
class _Kept:
    session: Session
    items: list[Item] = field(default_factory=list)
    workspace: str = ""
    keyed: dict[str, list[Item]] = field(default_factory=dict)

    def extend(self, items: Iterable[Item]) -> None:
        for item in items:
            self.items.append(item)
            if item.idempotency_key:
                self.keyed.setdefault(item.idempotency_key, []).append(item)

    def trim(self, keep_items: int) -> None:
        gone = self.items[: max(0, len(self.items) - keep_items)]
        del self.items[: len(gone)]
        for item in gone:
            self.keyed.pop(item.idempotency_key or "", None)


def _own(session: Session) -> Session:
    """A copy whose objects nobody else holds."""
    if not (session.config_overrides or session.metadata or session.context):
        return session
    return replace(
        session,
        config_overrides=plain(session.config_overrides),
        metadata=plain(session.metadata),
        context=plain(session.context),
    )


def _own_item(item: Item) -> Item:
    if not item.data and not isinstance(item.content, list | dict):
        return replace(item, data={})
    return replace(item, content=plain(item.content), data=plain(item.data))


class MemoryBackend:
    """One lock around dictionaries; records are immutable, so readers share them safely."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._kept: dict[str, _Kept] = {}
        self._newest_last: list[Position] = []
        self._of_user: defaultdict[str | None, set[str]] = defaultdict(set)
        self._leases: dict[str, tuple[str, int]] = {}

    def insert(self, session_id: str, change: Change, limits: Limits) -> Session | Full:
        with self._lock:
            write = change(self.read(session_id))
            if write is None:
                raise AssertionError(session_id)
            if reached := full(self.count, write.session, limits):
                return reached
            return self._apply(session_id, write)

    def update(self, session_id: str, change: Change) -> Session | None:
        with self._lock:
            found = self.read(session_id)
            write = change(found)
            return self._apply(session_id, write) if write else found

    def read(self, session_id: str) -> Session | None:
        kept = self._kept.get(session_id)
        return _own(kept.session) if kept else None

    def read_with_workspace(self, session_id: str) -> tuple[Session, str] | None:
        with self._lock:
            kept = self._kept.get(session_id)
            return (_own(kept.session), kept.workspace) if kept else None

    def read_record(self, session_id: str) -> Record | None:
        with self._lock:
            kept = self._kept.get(session_id)
            if kept is None:
                return None
            items = tuple(map(_own_item, kept.items))
            return Record(session=_own(kept.session), items=items, workspace=kept.workspace)

    def remove(self, session_id: str, *, due_at: int | None) -> bool:
        with self._lock:
            kept = self._kept.get(session_id)
            if kept is None or kept.session.due_at != due_at:
                return False
            self._forget(session_id)
            return True

    def items(
        self, session_id: str, *, after: int, before: int | None, limit: int, newest: bool
    ) -> list[Item]:
        with self._lock:
            kept = self._kept.get(session_id)
            if kept is None or not kept.items:
                return []
            first = kept.items[0].seq
            start = max(0, after + 1 - first)
            stop = len(kept.items) if before is None else max(0, before - first)
            window = kept.items[start:stop]
            chosen = window[max(0, len(window) - limit) :] if newest else window[:limit]
        return list(map(_own_item, chosen))

    def keyed_items(self, session_id: str, key: str) -> list[Item]:
        with self._lock:
            kept = self._kept.get(session_id)
            return list(map(_own_item, kept.keyed.get(key, ()))) if kept else []

    def page(self, wanted: Filter, *, after: Position | None, limit: int) -> list[Session]:
        with self._lock:
            end = len(self._newest_last)
            if after:
                end = bisect_left(self._newest_last, after)
            newest = (
                self._kept[self._newest_last[index][1]].session for index in range(end - 1, -1, -1)
            )
            found = list(islice((one for one in newest if matches(wanted, one)), limit))
        return list(map(_own, found))

    def count(self, wanted: Filter) -> int:
        with self._lock:
            return sum(matches(wanted, session) for session in self._candidates(wanted))

    def due(self, *, now: int, limit: int) -> list[str]:
        with self._lock:
            due = [
                (kept.session.due_at, session_id)
                for session_id, kept in self._kept.items()
                if kept.session.due_at is not None and kept.session.due_at <= now
            ]
        return [session_id for _, session_id in sorted(due)[:limit]]

    def oldest_idle(self, wanted: Filter) -> str | None:
        with self._lock:
            idle = [
                (session.last_access, session.id)
                for session in self._candidates(wanted)
                if session.expires_at is not None and matches(wanted, session)
            ]
        return min(idle)[1] if idle else None

    def lease(self, name: str, holder: str, *, now: int, ttl_ms: int) -> bool:
        with self._lock:
            owner, until = self._leases.get(name, (holder, now))
            if owner != holder and until > now:
                return False
            self._leases[name] = (holder, now + ttl_ms)
            return True

    def size_bytes(self) -> int:
        """The size of all records as JSON."""
        with self._lock:
            return sum(
                len(dumps(kept.session.to_json()))
                + len(kept.workspace)
                + sum(len(dumps(item.to_json())) for item in kept.items)
                for kept in self._kept.values()
            )

    def corrupt(self, *, quarantine: bool) -> Iterator[tuple[str, str]]:  # noqa: ARG002
        """Nothing: memory holds values, not text that could break."""
        return iter(())

    def info(self) -> dict[str, Any]:
        return {"type": "memory", "place": "memory:"}

    def close(self) -> None:
        """Keep all: the store lives as long as the process."""

    def _apply(self, session_id: str, write: Write) -> Session:
        kept = self._kept.get(session_id) or _Kept(write.session)
        self._forget(session_id)
        kept.session = _own(write.session)
        if write.keep_items == 0:
            kept.trim(0)
        kept.extend(map(_own_item, write.items))
        if write.keep_items:
            kept.trim(write.keep_items)
        if write.workspace is not None:
            kept.workspace = write.workspace
        self._keep(kept)
        return write.session

    def _candidates(self, wanted: Filter) -> Iterable[Session]:
        if wanted.user_id is None:
            return (kept.session for kept in self._kept.values())
        return (self._kept[found].session for found in self._of_user.get(wanted.user_id, ()))

    def _keep(self, kept: _Kept) -> None:
        session = kept.session
        self._kept[session.id] = kept
        self._of_user[session.user_id].add(session.id)
        insort(self._newest_last, (session.created_at, session.id))

    def _forget(self, session_id: str) -> None:
        kept = self._kept.pop(session_id, None)
        if kept is None:
            return
        position = (kept.session.created_at, session_id)
        del self._newest_last[bisect_left(self._newest_last, position)]
        self._of_user[kept.session.user_id].discard(session_id)
        if not self._of_user[kept.session.user_id]:
            del self._of_user[kept.session.user_id]
