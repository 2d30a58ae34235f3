"""The index of the file store, `metadata.json`: owners, state and times of all sessions.

Kept in memory as long as the file stays the same; made again from the documents if it is lost.
Whoever asks holds the lock of the folder.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from kato_sessions.backend import Filter
from kato_sessions.documents import write_atomically
from kato_sessions.model import Json, Session, State, dumps

GONE = {State.DELETED, State.ARCHIVED}


class Index:
    """Entries by session id; one of a session that is gone holds its record."""

    def __init__(self, path: Path, recorded: Callable[[], Iterable[Session]]) -> None:
        self._path = path
        self._recorded = recorded
        self._kept: dict[str, Json] = {}
        self._seen: tuple[int, ...] = ()

    def entries(self) -> dict[str, Json]:
        try:
            seen = self._look()
        except FileNotFoundError:
            self._kept, self._seen = self._rebuilt(), ()
            return self._kept
        if seen != self._seen:
            try:
                self._kept = json.loads(self._path.read_bytes())["sessions"]
            except (ValueError, KeyError, TypeError):
                self._kept = self._rebuilt()
            self._seen = seen
        return self._kept

    def enter(self, session: Session) -> None:
        entry = _entry(session)
        if self.entries().get(session.id) != entry or not self._seen:
            self._kept[session.id] = entry
            self._write()

    def leave(self, session_ids: Iterable[str]) -> None:
        for session_id in session_ids:
            self._kept.pop(session_id, None)
        self._write()

    def _rebuilt(self) -> dict[str, Json]:
        return {session.id: _entry(session) for session in self._recorded()}

    def _write(self) -> None:
        write_atomically(self._path, dumps({"schema": 1, "sessions": self._kept}).encode())
        self._seen = self._look()

    def _look(self) -> tuple[int, ...]:
        stat = self._path.stat()
        return (stat.st_ino, stat.st_mtime_ns, stat.st_size)


def _entry(session: Session) -> Json:
    entry: Json = {
        "user_id": session.user_id,
        "node_id": session.node_id,
        "state": session.state.value,
        "created_at": session.created_at,
        "last_access": session.last_access,
        "due_at": session.due_at,
    }
    if session.state in GONE:
        entry["record"] = session.to_json()
    return entry


def entry_matches(wanted: Filter, entry: Mapping[str, Any]) -> bool:
    due_at = entry["due_at"]
    return (
        (wanted.user_id is None or entry["user_id"] == wanted.user_id)
        and (wanted.node_id is None or entry["node_id"] == wanted.node_id)
        and (
            wanted.live_at is None
            or (entry["state"] == State.ACTIVE and (due_at is None or due_at > wanted.live_at))
        )
    )
