"""A session and its items as values: two clocks, states, versions, JSON. Pure; times are UTC ms."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from operator import itemgetter
from typing import Any, Self

from kato_sessions.errors import InvalidSession

Clock = Callable[[], int]
Json = dict[str, Any]

SCHEMA = 1
SECOND_MS = 1000
HOUR_MS = 3600 * SECOND_MS
DAY_MS = 24 * HOUR_MS
DEFAULT_ID = "default"
RESERVED_IDS = frozenset({"stats", "count", "cleanup", "import", "doctor", "."})
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_OWNER_MAX_CHARS = 256


def now_ms() -> int:
    """The wall clock in UTC milliseconds."""
    return time.time_ns() // 1_000_000


class State(StrEnum):
    """active -> expired -> archived -> purged (the record is gone); deleted is a tombstone."""

    ACTIVE = "active"
    EXPIRED = "expired"
    ARCHIVED = "archived"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """`items` is the last sequence number given, so it never falls when history is trimmed."""

    items: int = 0
    queries: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """What a session is bound to; set once, changed by command only."""

    instance_id: str
    config_hash: str = ""
    experiment: str | None = None
    variant: str | None = None
    bucket: int | None = None
    bucket_version: int | None = None
    assigned_at: int = 0
    how: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session without its items.

    `version` counts changes of config, metadata, context, affinity and life; appending items and
    touching leave it alone. `workspace_rev` counts writes of the opaque workspace. `expires_at` is
    the stored deadline, None = never; `idle_ttl_ms` slides, `max_life_ms` runs from creation.
    `purge_at` is when an ended record may go for good, None = kept. `sealed` names the key of a
    session that is still encrypted; it is not part of a plain one's JSON.
    """

    id: str
    user_id: str | None = None
    node_id: str | None = None
    state: State = State.ACTIVE
    version: int = 1
    created_at: int
    last_access: int
    last_write: int
    idle_ttl_ms: int | None
    max_life_ms: int | None
    expires_at: int | None
    expired_at: int | None = None
    deleted_at: int | None = None
    archived_at: int | None = None
    purge_at: int | None = None
    config_overrides: Json = field(default_factory=dict)
    config_rev: int = 0
    metadata: Json = field(default_factory=dict)
    context: Json = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    affinity: Affinity | None = None
    workspace_rev: int = 0
    sealed: str = ""
    schema: int = SCHEMA

    def to_json(self) -> Json:
        document = {name: getattr(self, name) for name in _SESSION_FIELDS}
        document["state"] = self.state.value
        counters = self.counters
        document["counters"] = {
            "items": counters.items,
            "queries": counters.queries,
            "errors": counters.errors,
        }
        document["affinity"] = asdict(self.affinity) if self.affinity else None
        if not self.sealed:
            del document["sealed"]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Unknown keys of a newer minor version are dropped; a missing required one raises."""
        values = {name: document[name] for name in _SESSION_FIELDS if name in document}
        values["state"] = State(values.get("state", State.ACTIVE))
        values["counters"] = Counters(**values.get("counters", {}))
        affinity = values.get("affinity")
        values["affinity"] = Affinity(**affinity) if affinity else None
        return cls(**values)

    def is_live(self, now: int) -> bool:
        """Whether it answers at `now`: judged when read, not when last swept."""
        return self.state is State.ACTIVE and (self.expires_at is None or self.expires_at > now)

    @property
    def due_at(self) -> int | None:
        """When a sweep must look at it next: its deadline, or its purge once it has ended."""
        return self.expires_at if self.state is State.ACTIVE else self.purge_at

    def state_at(self, now: int) -> State:
        if self.state is State.ACTIVE and not self.is_live(now):
            return State.EXPIRED
        return self.state

    def ttl_ms(self) -> int | None:
        """The TTL as asked for: the sliding one, else the absolute one, None = never."""
        return self.idle_ttl_ms if self.idle_ttl_ms is not None else self.max_life_ms

    def remaining_ms(self, now: int) -> int | None:
        """Time left without the touch slack; None = never expires."""
        deadline = deadline_of(self, self.last_access, slack_ms=0)
        return None if deadline is None else max(0, deadline - now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One entry of a session's history; `seq` orders items, never the clock.

    `seq` 0, `id` "" and `ts` 0 mean "not stored yet": the store fills them in.
    """

    session_id: str = ""
    seq: int = 0
    id: str = ""
    ts: int = 0
    role: str = "user"
    kind: str = "note"
    content: Any = None
    data: Json = field(default_factory=dict)
    latency_ms: float | None = None
    status: int | None = None
    instance_id: str | None = None
    variant: str | None = None
    idempotency_key: str | None = None
    redacted: bool = False

    def to_json(self) -> Json:
        return {name: getattr(self, name) for name in _ITEM_FIELDS}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        try:
            values = _item_values(document)
        except KeyError:  # another version has fewer fields
            return cls(**{name: document[name] for name in _ITEM_FIELDS if name in document})
        item = cls.__new__(cls)  # a frozen class's own way takes a third of reading a history
        for fill, value in zip(_ITEM_SLOTS, values, strict=True):
            fill(item, value)
        return item


_SESSION_FIELDS = tuple(f.name for f in fields(Session))
_ITEM_FIELDS = tuple(f.name for f in fields(Item))
_item_values = itemgetter(*_ITEM_FIELDS)
_ITEM_SLOTS = tuple(getattr(Item, name).__set__ for name in _ITEM_FIELDS)


def dumps(value: Any) -> str:
    """Canonical JSON text: the same value is the same bytes in every store."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidSession(f"not JSON: {error}") from error


def plain(value: Any) -> Any:
    """The value as JSON gives it back (text keys, no tuples), detached from the caller's."""
    return json.loads(dumps(value))


def checked_id(session_id: Any) -> str:
    if not isinstance(session_id, str) or not _ID.fullmatch(session_id):
        raise InvalidSession(
            f"session id {session_id!r}: use 1 to 128 of A-Z a-z 0-9 . _ : -",
        )
    if session_id in RESERVED_IDS:
        raise InvalidSession(f"session id {session_id!r} is a reserved word")
    return session_id


def checked_name(name: str, value: Any) -> str | None:
    """A `user_id`, `node_id` or key: any readable text of 1 to 256 characters."""
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _OWNER_MAX_CHARS:
        raise InvalidSession(f"{name} {value!r}: use 1 to {_OWNER_MAX_CHARS} characters")
    if _CONTROL.search(value):
        raise InvalidSession(f"{name} {value!r} has control characters")
    return value


def checked_ttl(name: str, value: Any) -> int | None:
    """A duration in ms; None = no such limit."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 53:
        raise InvalidSession(f"{name} {value!r}: use a positive number of milliseconds")
    return value


def duration_ms(name: str, value: float, unit_ms: int) -> int:
    """`value` units as ms, 0 or more; raises InvalidSession for what is no time, as NaN."""
    if not 0 <= value * unit_ms < 1 << 53:
        raise InvalidSession(f"{name} {value:g}: use a number of 0 or more")
    return int(value * unit_ms)


def slack_of(idle_ttl_ms: int | None, *, exact: bool = False) -> int:
    """How long a touch may be left unwritten: 1 % of the idle time, 0 below 100 s, at most 60 s."""
    if exact or idle_ttl_ms is None or idle_ttl_ms < 100 * SECOND_MS:
        return 0
    return min(idle_ttl_ms // 100, 60 * SECOND_MS)


def deadline_of(session: Session, accessed_at: int, *, slack_ms: int) -> int | None:
    """The earlier of both clocks; the slack lengthens only the sliding one."""
    clocks = []
    if session.idle_ttl_ms is not None:
        clocks.append(accessed_at + session.idle_ttl_ms + slack_ms)
    if session.max_life_ms is not None:
        clocks.append(session.created_at + session.max_life_ms)
    return min(clocks, default=None)


def touched(session: Session, now: int, *, exact: bool = False) -> Session:
    """The session with its sliding clock restarted, or the same object when nothing need change.

    An access that is not written cannot shorten a life: the deadline written before already
    reaches `slack` further than asked.
    """
    slack = slack_of(session.idle_ttl_ms, exact=exact)
    if now <= session.last_access or now < session.last_access + slack:
        return session
    expires_at = deadline_of(session, now, slack_ms=slack)
    return replace(session, last_access=now, expires_at=expires_at)


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396): objects merge, null removes, anything else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
