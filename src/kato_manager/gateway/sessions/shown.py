"""What the session API answers: the service's names and the guides' names for the same things."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kato_sessions.model import Item, Session

Json = dict[str, Any]
_TOLD = ("node_id", "created_at", "last_accessed", "expires_at", "auto_extend")


def session(one: Session, now: int, told: Mapping[str, Any] | None = None) -> Json:
    """A session; `told` is what its instance says: TTL, config and memory are the instance's."""
    ttl_ms, remaining_ms = one.ttl_ms(), one.remaining_ms(now)
    shown: Json = {
        "session_id": one.id,
        "node_id": one.node_id,
        "user_id": one.user_id,
        "state": one.state_at(now).value,
        "created_at": iso(one.created_at),
        "last_accessed": iso(one.last_access),
        "expires_at": None if remaining_ms is None else iso(now + remaining_ms),
        "ttl": _whole_s(ttl_ms),
        "ttl_seconds": _whole_s(ttl_ms),
        "remaining_ttl": _whole_s(remaining_ms),
        "auto_extend": one.idle_ttl_ms is not None,
        "config": one.config_overrides,
        "session_config": one.config_overrides,
        "config_rev": one.config_rev,
        "metadata": {
            "created_from": "api",
            **one.metadata,
            "query_count": one.counters.queries,
            "thread_id": one.id,
        },
        "context": {**one.context, "error_count": one.counters.errors},
        "history_length": one.counters.items,
        "version": one.version,
        "instance": one.affinity.instance_id if one.affinity else None,
    }
    return _with_told(shown, told) if told else shown


def _with_told(shown: Json, told: Mapping[str, Any]) -> Json:
    config = told.get("config", told.get("session_config", shown["config"]))
    ttl = told.get("ttl", shown["ttl"])
    known = {name: told[name] for name in _TOLD if name in told}
    remaining = told.get("remaining_ttl", told.get("ttl_seconds", shown["remaining_ttl"]))
    return {
        **shown,
        **known,
        "config": config,
        "session_config": config,
        "ttl": ttl,
        "ttl_seconds": ttl,
        "remaining_ttl": remaining,
    }


def item(one: Item) -> Json:
    return {**one.to_json(), "timestamp": iso(one.ts)}


def iso(ms: int) -> str:
    """2025-11-13T10:00:00Z, as the guide prints it; with milliseconds where there are some."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    spec = "milliseconds" if ms % 1000 else "seconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")


def _whole_s(ms: int | None) -> int | None:
    """Seconds, rounded up: a session of 3600 s has 3600 left when it has just begun."""
    return None if ms is None else -(-ms // 1000)
