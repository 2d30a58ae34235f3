"""Figures over all sessions of a store, and which of them are alarming."""

from typing import Any

from kato_sessions.archive import Archive
from kato_sessions.model import HOUR_MS, Session
from kato_sessions.store import Store

ALARMING_COUNT = 900
ALARMING_BYTES = 2 << 30
_MIB = 1 << 20


def figures(store: Store, archive: Archive) -> dict[str, Any]:
    """Reads every live session once."""
    now = store.clock()
    count = age_ms = items = queries = errors = 0
    oldest: Session | None = None
    last = 0
    for one in store.every():
        count += 1
        age_ms += now - one.created_at
        items += one.counters.items
        queries += one.counters.queries
        errors += one.counters.errors
        last = max(last, one.last_access)
        oldest = one  # the list ends with it
    size_bytes = store.backend.size_bytes()
    return {
        "active_count": count,
        "active_sessions": count,
        "active_sessions_memory": count,
        "archived_count": archive.count(),
        "storage_mb": round(size_bytes / _MIB, 3),
        "avg_age_hours": round(age_ms / count / HOUR_MS, 3) if count else 0.0,
        "oldest_session_id": oldest.id if oldest else None,
        "total_items": items,
        "total_queries": queries,
        "total_errors": errors,
        "last_activity_ms": last or None,
    }


def alarms(found: dict[str, Any], *, failure: str = "") -> list[str]:
    """What an administrator should hear of, in words."""
    told = []
    if found["active_count"] > ALARMING_COUNT:
        told.append(f"{found['active_count']} sessions are active, more than {ALARMING_COUNT}")
    if found["storage_mb"] > ALARMING_BYTES / _MIB:
        told.append(f"sessions use {found['storage_mb']} MB, more than {ALARMING_BYTES // _MIB}")
    if failure:
        told.append(f"the last cleanup failed: {failure}")
    return told
