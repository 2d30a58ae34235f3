"""Settings of a session store from the guides' environment names and their `sessions:` block.

Precedence: what is given > environment > block > profile. Nothing here reads the environment or a
file: both are passed in.

    SESSION_TTL  SESSION_AUTO_EXTEND                                          seconds, true/false
    MAX_SESSION_DURATION_HOURS  SESSION_INACTIVE_TIMEOUT_HOURS  SESSION_ARCHIVE_DAYS
    MAX_CONVERSATION_HISTORY  MAX_ACTIVE_SESSIONS  SESSION_COMPRESSION  SESSION_STORAGE_PATH

    sessions:
      storage_type: memory      # memory, sqlite, files or redis
      db_path: data/sessions.db
      timeout_hours: 24
      cleanup_interval_minutes: 60
      max_sessions_per_user: 10
      max_sessions: 0           # 0 = no limit, as above
      on_limit: evict_oldest_idle    # or reject
      max_items: 0              # kept of each history
      archive_days: 7
      profile: service          # the rest, by name: kato, pulsepal, service or chat

and `redact`, `audit` and `encryption` of `protection.py`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from kato_sessions.errors import SettingInvalid
from kato_sessions.model import DAY_MS, HOUR_MS, SECOND_MS
from kato_sessions.profile import PROFILES, SERVICE, OnLimit, Profile
from kato_sessions.protection import KEYS, Protection, protection_of

_MINUTE_MS = 60 * SECOND_MS
_STORES = {"memory": "memory:", "sqlite": "sqlite:{}", "files": "files:{}", "redis": "{}"}
_DEFAULT_PLACES = {"sqlite": "data/sessions.db", "files": "./sessions"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """Where sessions are kept, how they live, and what guards them."""

    url: str
    profile: Profile
    protection: Protection = field(default_factory=Protection)


def from_environment(
    environ: Mapping[str, str], profile: Profile = SERVICE
) -> tuple[Profile, str | None]:
    """The profile with what the environment says, and the storage path if it names one."""
    changes: dict[str, Any] = {}
    for name, (setting, read) in _VARIABLES.items():
        if environ.get(name, "").strip():
            changes[setting] = read(name, environ[name].strip())
    profile = replace(profile, **changes)
    auto_extend = environ.get("SESSION_AUTO_EXTEND", "").strip()
    if auto_extend and not _boolean("SESSION_AUTO_EXTEND", auto_extend):
        profile = without_extension(profile)
    return profile, environ.get("SESSION_STORAGE_PATH", "").strip() or None


def from_block(
    block: Mapping[str, Any], profile: Profile = SERVICE, folder: Path = Path()
) -> SessionSettings:
    """The guide's `sessions:` block; an unknown key or a wrong value raises SettingInvalid.

    Relative paths of what guards the sessions begin at `folder`.
    """
    known = [*_BLOCK, "storage_type", "db_path", "profile", *KEYS]
    for key in block:
        if key not in known:
            raise SettingInvalid.unknown(f"sessions.{key}", str(key), known)
    if "profile" in block:
        profile = _named_profile(block["profile"])
    changes = {
        setting: read(f"sessions.{name}", block[name])
        for name, (setting, read) in _BLOCK.items()
        if name in block
    }
    return SessionSettings(
        url=_url(block),
        profile=replace(profile, **changes),
        protection=protection_of(block, folder),
    )


def without_extension(profile: Profile) -> Profile:
    """The same with its TTL counted from creation: nothing restarts it."""
    return replace(profile, idle_ttl_ms=None, max_life_ms=profile.idle_ttl_ms)


def _named_profile(name: Any) -> Profile:
    if name not in PROFILES:
        raise SettingInvalid("sessions.profile", f"{name!r} is none of {', '.join(PROFILES)}")
    return PROFILES[name]


def _url(block: Mapping[str, Any]) -> str:
    kind = block.get("storage_type", "memory")
    if kind not in _STORES:
        raise SettingInvalid("sessions.storage_type", f"{kind!r} is none of {', '.join(_STORES)}")
    place = block.get("db_path", _DEFAULT_PLACES.get(kind, "redis://localhost:6379/0"))
    if not isinstance(place, str) or not place:
        raise SettingInvalid("sessions.db_path", f"{place!r} is not a path")
    return _STORES[kind].format(place)


def _number(name: str, value: Any) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < 1 << 40:
        raise SettingInvalid(name, f"{value!r} is not a number of 0 or more")
    return number


def _duration(unit_ms: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        duration = round(_number(name, value) * unit_ms)
        if not duration:
            raise SettingInvalid(name, f"{value!r} must be more than 0")
        return duration

    return read


def _whole(name: str, value: Any) -> int:
    number = _number(name, value)
    if number != int(number):
        raise SettingInvalid(name, f"{value!r} is not a whole number")
    return int(number)


def _policy(name: str, value: Any) -> str:
    if value not in get_args(OnLimit):
        raise SettingInvalid(name, f"{value!r} is none of {', '.join(get_args(OnLimit))}")
    return str(value)


def _boolean(name: str, value: Any) -> bool:
    word = str(value).lower()
    if word in {"true", "1", "yes", "on"}:
        return True
    if word in {"false", "0", "no", "off"}:
        return False
    raise SettingInvalid(name, f"{value!r} is neither true nor false")


_Reader = Callable[[str, Any], Any]
_VARIABLES: dict[str, tuple[str, _Reader]] = {
    "SESSION_INACTIVE_TIMEOUT_HOURS": ("idle_ttl_ms", _duration(HOUR_MS)),
    "SESSION_TTL": ("idle_ttl_ms", _duration(SECOND_MS)),
    "MAX_SESSION_DURATION_HOURS": ("max_life_ms", _duration(HOUR_MS)),
    "MAX_CONVERSATION_HISTORY": ("max_items", _whole),
    "MAX_ACTIVE_SESSIONS": ("max_sessions", _whole),
    "SESSION_ARCHIVE_DAYS": ("archive_keep_ms", _duration(DAY_MS)),
    "SESSION_COMPRESSION": ("archive_gzip", _boolean),
}
_BLOCK: dict[str, tuple[str, _Reader]] = {
    "timeout_hours": ("idle_ttl_ms", _duration(HOUR_MS)),
    "cleanup_interval_minutes": ("cleanup_interval_ms", _duration(_MINUTE_MS)),
    "max_sessions_per_user": ("max_sessions_per_user", _whole),
    "max_sessions": ("max_sessions", _whole),
    "on_limit": ("on_limit", _policy),
    "max_items": ("max_items", _whole),
    "archive_days": ("archive_keep_ms", _duration(DAY_MS)),
}
