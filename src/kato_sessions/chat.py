"""The chat guide's names over a SQLite store: SessionStore, Message, ChatSession, ChatResponse."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from kato_sessions.connect import open_store
from kato_sessions.errors import SessionNotFound
from kato_sessions.model import (
    HOUR_MS,
    Clock,
    Item,
    Json,
    Session,
    State,
    duration_ms,
    now_ms,
)
from kato_sessions.profile import CHAT

DEFAULT_PATH = Path("data/chat/sessions.db")
_ALL = 1 << 31


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message; `query_plan` and `candidate_set` are results of any kind that JSON can hold.

    Models with `model_dump` and dataclasses are taken too, and come back as plain objects.
    """

    role: str
    content: Any
    query_plan: Any = None
    candidate_set: Any = None
    timestamp: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ChatResponse:
    message: str
    candidate_set: Any = None
    session_id: str


@dataclass(frozen=True, kw_only=True)
class ChatSession:
    """A session as it was when read; times are UTC."""

    session_id: str
    user_id: str | None
    created_at: datetime
    updated_at: datetime
    expired_at: datetime | None = None
    context: Json = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)

    def get_recent_messages(self, n: int = 10) -> list[Message]:
        return self.messages[-n:] if n > 0 else []


class SessionStore:
    """Chats in one SQLite file; safe beside other processes."""

    def __init__(self, path: Path | str = DEFAULT_PATH, *, clock: Clock = now_ms) -> None:
        self.path = Path(path)
        self.store = open_store(f"sqlite:{self.path}", profile=CHAT, clock=clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.store.close()

    def create_session(
        self, user_id: str | None = None, *, metadata: Mapping[str, Any] | None = None
    ) -> ChatSession:
        return _chat(self.store.create(user_id=user_id, metadata=metadata), ())

    def get_session(self, session_id: str) -> ChatSession | None:
        """The session with all its messages, or None if it is unknown or has expired."""
        try:
            session = self.store.get(session_id)
        except SessionNotFound:
            return None
        return _chat(session, self.store.items(session_id, limit=_ALL))

    def get_history(self, session_id: str) -> ChatSession | None:
        """As `get_session`, and expired ones too."""
        session = self.store.peek(session_id)
        if session is None or session.state is State.DELETED:
            return None
        return _chat(session, self.store.items(session_id, limit=_ALL))

    def add_message(self, session_id: str, message: Message) -> Message:
        """Add to the end without reading what is there; raises SessionNotFound."""
        results = {
            name: to_plain(value)
            for name in ("query_plan", "candidate_set")
            if (value := getattr(message, name)) is not None
        }
        item = Item(
            role=message.role,
            kind="query" if message.role == "user" else "response",
            content=message.content,
            data=results,
            ts=int(message.timestamp.timestamp() * 1000) if message.timestamp else 0,
        )
        return _message(self.store.append(session_id, [item])[0])

    def update_context(self, session_id: str, context: Mapping[str, Any]) -> Json:
        """Merge into the context inside the store, so that nobody's keys are lost."""
        return self.store.patch(session_id, {"context": context}).context

    def list_user_sessions(
        self, user_id: str, *, include_expired: bool = False
    ) -> list[ChatSession]:
        """A user's sessions, newest first, without messages."""
        return [_chat(one, ()) for one in self._every(user_id, live=not include_expired)]

    def expire_session(self, session_id: str) -> bool:
        """End it, keeping its rows; False if it was not live."""
        try:
            self.store.expire(session_id)
        except SessionNotFound:
            return False
        return True

    def expire_old_sessions(self, max_age_hours: float = 24) -> int:
        """End every session idle for that long or past its own deadline; how many."""
        latest = self.store.clock() - duration_ms("max_age_hours", max_age_hours, HOUR_MS)
        ended = sum(self.store.end(one.id, how="soft") for one in self.store.due(_ALL))
        idle = [one.id for one in self._every(None, live=True) if one.last_access <= latest]
        return ended + sum(self.expire_session(session_id) for session_id in idle)

    def _every(self, user_id: str | None, *, live: bool) -> list[Session]:
        found = self.store.every(user_id=user_id, live=live)
        return [one for one in found if one.state is not State.DELETED]


def to_plain(value: Any) -> Any:
    """A result object as JSON values."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): to_plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(one) for one in value]
    return value


def _chat(session: Session, items: Iterable[Item]) -> ChatSession:
    return ChatSession(
        session_id=session.id,
        user_id=session.user_id,
        created_at=_moment(session.created_at),
        updated_at=_moment(session.last_write),
        expired_at=_moment(session.expired_at) if session.expired_at else None,
        context=session.context,
        metadata=session.metadata,
        messages=[_message(item) for item in items],
    )


def _message(item: Item) -> Message:
    return Message(
        role=item.role,
        content=item.content,
        query_plan=item.data.get("query_plan"),
        candidate_set=item.data.get("candidate_set"),
        timestamp=_moment(item.ts),
    )


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
