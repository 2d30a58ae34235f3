"""Pages of a list, and the cursors that lead from one to the next."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass

from kato_sessions.backend import Position
from kato_sessions.errors import InvalidSession
from kato_sessions.model import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some sessions, newest first, and where the next page starts (None = that was the last)."""

    sessions: tuple[Session, ...]
    cursor: str | None


def page_of(sessions: Sequence[Session], limit: int) -> Page:
    """A page of `limit` sessions from one more than that, if there are so many."""
    more = len(sessions) > limit
    cursor = _cursor(sessions[limit - 1]) if more else None
    return Page(sessions=tuple(sessions[:limit]), cursor=cursor)


def _cursor(session: Session) -> str:
    text = json.dumps([session.created_at, session.id])
    return base64.urlsafe_b64encode(text.encode()).decode()


def position_of(cursor: str) -> Position:
    """Where a page begins; raises InvalidSession for what no list gave."""
    try:
        created_at, session_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return int(created_at), str(session_id)
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidSession(f"cursor {cursor!r} is not one that a list gave") from error
