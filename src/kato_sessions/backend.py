"""What one place of keeping must do; all rules of sessions are in `store.Store`, none here."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from kato_sessions.errors import RecordCorrupt
from kato_sessions.model import Item, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One atomic change: the new record, items to append, and what to drop.

    `keep_items` trims the history to its newest ones, with those of `items`; None keeps all, 0
    drops what was there before. `workspace` replaces the opaque text; None leaves it.
    """

    session: Session
    items: tuple[Item, ...] = ()
    keep_items: int | None = None
    workspace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which sessions: owners, and whether only those live at `now` (None = every record)."""

    user_id: str | None = None
    node_id: str | None = None
    live_at: int | None = None


def matches(wanted: Filter, session: Session) -> bool:
    """Whether a session is among the wanted ones."""
    return (
        (wanted.user_id is None or session.user_id == wanted.user_id)
        and (wanted.node_id is None or session.node_id == wanted.node_id)
        and (wanted.live_at is None or session.is_live(wanted.live_at))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Live sessions allowed after one more is made; 0 = no limit."""

    now: int
    in_all: int = 0
    per_user: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """A limit is reached: in all, or for this user."""

    user_id: str | None


def full(count: Callable[[Filter], int], session: Session, limits: Limits) -> Full | None:
    """The limit that one more session reaches; call where nobody can insert in between."""
    mine = Filter(live_at=limits.now, user_id=session.user_id)
    if limits.per_user and count(mine) >= limits.per_user:
        return Full(user_id=session.user_id)
    if limits.in_all and count(Filter(live_at=limits.now)) >= limits.in_all:
        return Full(user_id=None)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A whole session: what export, import, archive and migration move."""

    session: Session
    items: tuple[Item, ...] = ()
    workspace: str = ""


Change = Callable[[Session | None], Write | None]
Position = tuple[int, str]  # (created_at, id): immutable, so a cursor stays true


class Backend(Protocol):
    """Keeps records. Thread-safe; several processes may share one place, except memory.

    `update` is the only door for changes: it calls `change` with the present record (None = no
    record) and stores what it returns, with nobody in between; `change` may be called again.
    `insert` does the same after counting the live sessions, `due` lists records whose `due_at` has
    come, `remove` acts only if `due_at` is still that, `page` goes from the newest to the oldest,
    `corrupt` yields (place, reason).
    """

    def insert(self, session_id: str, change: Change, limits: Limits) -> Session | Full: ...
    def update(self, session_id: str, change: Change) -> Session | None: ...
    def read(self, session_id: str) -> Session | None: ...
    def read_with_workspace(self, session_id: str) -> tuple[Session, str] | None: ...
    def read_record(self, session_id: str) -> Record | None: ...
    def remove(self, session_id: str, *, due_at: int | None) -> bool: ...
    def items(
        self, session_id: str, *, after: int, before: int | None, limit: int, newest: bool
    ) -> list[Item]: ...
    def keyed_items(self, session_id: str, key: str) -> list[Item]: ...
    def page(self, wanted: Filter, *, after: Position | None, limit: int) -> list[Session]: ...
    def count(self, wanted: Filter) -> int: ...
    def due(self, *, now: int, limit: int) -> list[str]: ...
    def oldest_idle(self, wanted: Filter) -> str | None: ...
    def lease(self, name: str, holder: str, *, now: int, ttl_ms: int) -> bool: ...
    def size_bytes(self) -> int: ...
    def corrupt(self, *, quarantine: bool) -> Iterator[tuple[str, str]]: ...
    def info(self) -> dict[str, Any]: ...
    def close(self) -> None: ...


def parsed_items(session_id: str, text: str) -> list[Item]:
    """Items from a JSON array of them; raises RecordCorrupt."""
    try:
        return [Item.from_json(document) for document in json.loads(text)]
    except (ValueError, TypeError, AttributeError) as error:
        raise RecordCorrupt(
            f"the history of session {session_id!r} cannot be read: {error}",
            hint="kato sessions doctor --fix",
        ) from error


def set_aside(session_id: str, seq: int) -> Item:
    """What stands in a history for an item that was corrupt."""
    return Item(session_id=session_id, seq=seq, role="system", kind="corrupt")


def parsed_session(session_id: str, text: str) -> Session:
    """A record from its JSON text; raises RecordCorrupt."""
    try:
        return Session.from_json(json.loads(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise RecordCorrupt(
            f"session {session_id!r} cannot be read: {error}", hint="kato sessions doctor --fix"
        ) from error


def readable_session(session_id: str, text: str) -> Session | None:
    """For lists: a corrupt record is left out, so that it hides no other."""
    try:
        return parsed_session(session_id, text)
    except RecordCorrupt:
        return None
