"""Who changed what: one JSON line per change, `{"at", "action", "session_id", ...}`, file 0600."""

import os
from datetime import UTC, datetime
from pathlib import Path

from kato_sessions.model import Json, dumps


class AuditLog:
    """A store's `audit=`. Lines of several processes never mix: each is one append."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    def __call__(self, at_ms: int, action: str, session_id: str, facts: Json) -> None:
        at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        line = dumps({"at": at, "action": action, "session_id": session_id, **facts}) + "\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
