"""How sessions of one family live: clocks, limits, what happens at the end."""

from dataclasses import dataclass
from typing import Literal

from kato_sessions.model import DAY_MS, HOUR_MS

TouchOn = Literal["write", "op", "any"]
OnExpire = Literal["purge", "soft", "archive"]
OnLimit = Literal["evict_oldest_idle", "reject"]
OnMissing = Literal["error", "create", "create_same_id"]
IdForm = Literal["session-hex", "uuid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The rules of a store; a limit of 0 means none, a clock of None means never.

    `touch_on` says what restarts the idle clock: `write` = appends and changes, `op` = these and
    reads marked as an operation (observe, query, predictions), `any` = every read.
    """

    name: str
    idle_ttl_ms: int | None
    max_life_ms: int | None = None
    touch_on: TouchOn = "op"
    exact_touch: bool = False
    on_expire: OnExpire = "purge"
    on_missing: OnMissing = "error"
    on_limit: OnLimit = "evict_oldest_idle"
    max_sessions: int = 0
    max_sessions_per_user: int = 0
    max_items: int = 0
    window: int = 100
    tombstone_ms: int = 24 * HOUR_MS
    keep_expired_ms: int | None = None
    archive_keep_ms: int = 7 * DAY_MS
    archive_gzip: bool = True
    cleanup_interval_ms: int = HOUR_MS
    id_form: IdForm = "uuid"


KATO = Profile(name="kato", idle_ttl_ms=HOUR_MS, id_form="session-hex")
PULSEPAL = Profile(
    name="pulsepal",
    idle_ttl_ms=2 * HOUR_MS,
    max_life_ms=24 * HOUR_MS,
    on_expire="archive",
    on_missing="create",
    max_sessions=1000,
    max_items=100,
)
SERVICE = Profile(
    name="service",
    idle_ttl_ms=24 * HOUR_MS,
    touch_on="write",
    on_missing="create_same_id",
    max_sessions_per_user=10,
)
CHAT = Profile(name="chat", idle_ttl_ms=24 * HOUR_MS, touch_on="write", on_expire="soft")
PROFILES = {profile.name: profile for profile in (KATO, PULSEPAL, SERVICE, CHAT)}
