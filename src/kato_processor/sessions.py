"""Sessions as the processor sees them, kept by a store of `kato_sessions`."""

import math
import time
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from kato_processor.environment import ProcessSettings
from kato_processor.naming import DEFAULT_NODE
from kato_processor.settings import InvalidSettings
from kato_processor.workspace import Workspace
from kato_sessions import model
from kato_sessions.errors import InvalidSession, SessionNotFound, VersionConflict
from kato_sessions.model import DEFAULT_ID, SECOND_MS
from kato_sessions.profile import KATO, Profile
from kato_sessions.store import FROM_PROFILE, PAGE_MAX, Store

_OWNER_MAX_CHARS = 256


class SessionMissing(LookupError):
    """No live session has this id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Times are UTC seconds; an `expires_at` of None never comes."""

    id: str
    user_id: str | None
    created_at: float
    last_accessed: float
    expires_at: float | None
    ttl_s: int | None
    remaining_s: int | None
    auto_extend: bool
    metadata: dict[str, Any]
    workspace: Workspace
    revision: int


class Sessions:
    """Thread-safe, and safe beside other processes that use the same store."""

    def __init__(self, store: Store, *, backend: str) -> None:
        self.backend = backend
        self._store = store

    def close(self) -> None:
        self._store.close()

    def create(
        self,
        workspace: Workspace,
        *,
        ttl_s: int | None,
        metadata: dict[str, Any],
        user_id: str | None,
    ) -> Session:
        """A new session; without a TTL it gets the default one. Raises InvalidSettings."""
        try:
            made = self._store.create(
                f"session-{uuid4().hex}-{time.time_ns() // 1_000_000}",
                node_id=_owner(workspace.node_id),
                user_id=_owner(user_id),
                metadata=metadata,
                ttl_ms=FROM_PROFILE if ttl_s is None else ttl_s * SECOND_MS,
            )
        except InvalidSession as error:
            raise InvalidSettings({"metadata": str(error)}) from error
        return _seen(self._store.put_workspace(made.id, workspace.to_json()), workspace)

    def read(self, session_id: str, *, operation: bool = False) -> Session:
        """The live session; an operation restarts its clock. Raises SessionMissing."""
        if session_id == DEFAULT_ID:
            self._store.default()
        try:
            found, text = self._store.workspace(session_id, touch=operation)
        except (SessionNotFound, InvalidSession):
            raise SessionMissing(session_id) from None
        node_id = found.node_id or DEFAULT_NODE
        return _seen(found, Workspace.from_json(text) if text else Workspace(node_id=node_id))

    def write(self, session: Session, workspace: Workspace) -> bool:
        """Keep the workspace, unless somebody else wrote since the session was read."""
        try:
            self._store.put_workspace(
                session.id, workspace.to_json(), expected_rev=session.revision
            )
        except VersionConflict:
            return False
        except SessionNotFound:
            raise SessionMissing(session.id) from None
        return True

    def exists(self, session_id: str) -> bool:
        return session_id == DEFAULT_ID or self._store.exists(session_id)

    def delete(self, session_id: str) -> bool:
        """Whether there was one to delete."""
        if not self._store.exists(session_id):
            return False
        try:
            self._store.delete(session_id)
        except SessionNotFound:
            return False
        return True

    def extend(self, session_id: str, ttl_s: int) -> None:
        """Give it this time from now on; 0 or less ends it. Raises SessionMissing."""
        try:
            if ttl_s > 0:
                self._store.extend(session_id, ttl_s * SECOND_MS)
            else:
                self._store.expire(session_id)
        except (SessionNotFound, InvalidSession):
            raise SessionMissing(session_id) from None

    def live(self) -> list[Session]:
        """All live sessions but the default one, newest first."""
        found: list[Session] = []
        cursor = None
        while True:
            page = self._store.list(cursor=cursor, limit=PAGE_MAX)
            for session in page.sessions:
                if session.id != DEFAULT_ID:
                    try:
                        found.append(self.read(session.id))
                    except SessionMissing:
                        continue  # it ended meanwhile
            cursor = page.cursor
            if cursor is None:
                return found

    def count(self) -> int:
        """The exact number of live sessions, the default one not counted."""
        return self._store.count() - self._store.exists(DEFAULT_ID)

    def sweep(self) -> int:
        """Remove expired sessions, a page at most; how many."""
        return sum(self._store.end(session.id, how="purge") for session in self._store.due())


def open_sessions(settings: ProcessSettings) -> Sessions:
    """The store that the settings name; by default a SQLite file in the data folder."""
    from kato_sessions.connect import open_store

    url = settings.session_store or f"sqlite:{settings.data_dir / 'sessions.db'}"
    store = open_store(url, profile=_profile(settings))
    return Sessions(store, backend=url.partition(":")[0])


def _profile(settings: ProcessSettings) -> Profile:
    ttl_ms = settings.session_ttl_s * SECOND_MS
    if settings.session_auto_extend:
        return replace(KATO, idle_ttl_ms=ttl_ms)
    return replace(KATO, idle_ttl_ms=None, max_life_ms=ttl_ms)


def _owner(value: str | None) -> str | None:
    """The value where the store can list by it; the workspace keeps every node id as it is."""
    return value if value and len(value) <= _OWNER_MAX_CHARS and value.isprintable() else None


def _seen(session: model.Session, workspace: Workspace) -> Session:
    now = model.now_ms()
    remaining = session.remaining_ms(now)
    ttl = session.ttl_ms()
    return Session(
        id=session.id,
        user_id=session.user_id,
        created_at=session.created_at / SECOND_MS,
        last_accessed=session.last_access / SECOND_MS,
        expires_at=None if remaining is None else (now + remaining) / SECOND_MS,
        ttl_s=None if ttl is None else math.ceil(ttl / SECOND_MS),
        remaining_s=None if remaining is None else remaining // SECOND_MS,
        auto_extend=session.idle_ttl_ms is not None,
        metadata=session.metadata,
        workspace=workspace,
        revision=session.workspace_rev,
    )
