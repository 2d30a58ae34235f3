"""The steps of a session's life as pure functions: born, patched, extended, expired, deleted."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kato_sessions.model import (
    Counters,
    Item,
    Json,
    Session,
    State,
    deadline_of,
    merged,
    slack_of,
)

PATCHABLE = {"config": "config_overrides", "metadata": "metadata", "context": "context"}


def born(
    session_id: str,
    now: int,
    *,
    user_id: str | None,
    node_id: str | None,
    idle_ttl_ms: int | None,
    max_life_ms: int | None,
    exact: bool,
    config: Json,
    metadata: Json,
    context: Json,
) -> Session:
    session = Session(
        id=session_id,
        user_id=user_id,
        node_id=node_id,
        created_at=now,
        last_access=now,
        last_write=now,
        idle_ttl_ms=idle_ttl_ms,
        max_life_ms=max_life_ms,
        expires_at=None,
        config_overrides=config,
        metadata=metadata,
        context=context,
    )
    slack = slack_of(idle_ttl_ms, exact=exact)
    return replace(session, expires_at=deadline_of(session, now, slack_ms=slack))


def reborn(fresh: Session, earlier: Session | None) -> Session:
    """A new session under a used id counts versions on: a writer of the old one must conflict."""
    if earlier is None:
        return fresh
    return replace(fresh, version=earlier.version + 1, workspace_rev=earlier.workspace_rev + 1)


def numbered(
    session: Session, items: Sequence[Item], now: int, idempotency_key: str | None
) -> tuple[Item, ...]:
    """The items with the next sequence numbers of the session, and what was left open filled in."""
    first = session.counters.items + 1
    return tuple(
        replace(
            item,
            session_id=session.id,
            seq=seq,
            id=item.id or uuid.uuid4().hex,
            ts=item.ts or now,
            idempotency_key=idempotency_key,
        )
        for seq, item in enumerate(items, first)
    )


def counted(counters: Counters, items: Sequence[Item]) -> Counters:
    return Counters(
        items=counters.items + len(items),
        queries=counters.queries + sum(item.kind == "query" for item in items),
        errors=counters.errors + sum(item.kind == "error" for item in items),
    )


def patched(session: Session, patch: Mapping[str, Any], *, replace_values: bool = False) -> Session:
    changes: dict[str, Any] = {
        PATCHABLE[name]: value
        if replace_values
        else merged(getattr(session, PATCHABLE[name]), value)
        for name, value in patch.items()
    }
    return replace(
        session,
        version=session.version + 1,
        config_rev=session.config_rev + ("config" in patch),
        **changes,
    )


def extended(session: Session, now: int, ttl_ms: int | None, *, exact: bool) -> Session:
    """`ttl_ms` from now on whichever clock the session runs by; the other never cuts it short."""
    idle, most = session.idle_ttl_ms, session.max_life_ms
    if ttl_ms is None:
        idle = most = None
    elif idle is None and most is not None:
        most = now - session.created_at + ttl_ms
    else:
        idle = ttl_ms
        most = most and max(most, now - session.created_at + ttl_ms)
    session = replace(
        session, idle_ttl_ms=idle, max_life_ms=most, last_access=now, version=session.version + 1
    )
    slack = slack_of(idle, exact=exact)
    return replace(session, expires_at=deadline_of(session, now, slack_ms=slack))


def expired(session: Session, now: int, expired_at: int, keep_ms: int | None) -> Session:
    return replace(
        session,
        state=State.EXPIRED,
        expired_at=expired_at,
        purge_at=None if keep_ms is None else now + keep_ms,
        version=session.version + 1,
    )


def deleted(session: Session, now: int, keep_ms: int) -> Session:
    """A tombstone: the name, the version and the end, nothing of what it held."""
    return replace(
        _emptied(session),
        state=State.DELETED,
        deleted_at=now,
        purge_at=now + keep_ms,
        version=session.version + 1,
    )


def archived(session: Session, now: int, keep_ms: int) -> Session:
    return replace(
        _emptied(session),
        state=State.ARCHIVED,
        expired_at=session.expired_at or now,
        archived_at=now,
        purge_at=now + keep_ms,
        version=session.version + 1,
    )


def restored(session: Session, now: int, *, exact: bool) -> Session:
    """Live again with the clocks it had, counted from now; creation moves only if it must."""
    created_at = now if session.max_life_ms is not None else session.created_at
    session = replace(
        session,
        state=State.ACTIVE,
        created_at=created_at,
        last_access=now,
        expired_at=None,
        deleted_at=None,
        archived_at=None,
        purge_at=None,
        version=session.version + 1,
    )
    slack = slack_of(session.idle_ttl_ms, exact=exact)
    return replace(session, expires_at=deadline_of(session, now, slack_ms=slack))


def _emptied(session: Session) -> Session:
    return replace(session, config_overrides={}, metadata={}, context={})
