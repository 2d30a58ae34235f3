"""Which session a caller means: the one named, or a new one, as the profile says."""

from typing import Any

from kato_sessions.errors import SessionExists, SessionNotFound
from kato_sessions.model import Session
from kato_sessions.profile import OnMissing
from kato_sessions.store import Store


def resolve_session(
    store: Store,
    session_id: str | None,
    *,
    user_id: str | None = None,
    on_missing: OnMissing | None = None,
    **made_with: Any,
) -> Session:
    """The live session of this id, refreshed; without an id always a new one.

    If it is unknown or has ended: `error` raises SessionNotFound, `create` makes one with a new id,
    `create_same_id` one with this id. Another user's session counts as unknown, and its id is not
    given away: a new id is made instead. `made_with` goes to `Store.create`. Callers that come with
    the same new id at the same time get the same session.
    """
    mode = on_missing or store.profile.on_missing
    wanted = None
    if session_id is not None:
        try:
            return _mine(store.get(session_id, touch=True), user_id)
        except SessionNotFound:
            if mode == "error":
                raise
            if mode == "create_same_id" and not store.exists(session_id):
                wanted = session_id
    try:
        return store.create(wanted, user_id=user_id, **made_with)
    except SessionExists:
        return resolve_session(store, session_id, user_id=user_id, on_missing=mode, **made_with)


def _mine(session: Session, user_id: str | None) -> Session:
    if user_id is not None and session.user_id not in {None, user_id}:
        raise SessionNotFound(session.id)
    return session
