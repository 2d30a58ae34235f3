"""Who saw and changed what: one JSON line each, `{"at", "action", "session_id", ...}`, file 0600.

Access: read, history, list, use (its workspace), export. Change: create, append, patch, workspace,
extend, expire, evict, delete, archive, import, rewrite, purge.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from kato_sessions.errors import StoreUnavailable
from kato_sessions.model import Json, dumps


class AuditLog:
    """A store's `audit=`. Lines of several processes never mix: each is one append.

    `by` says in every line who did it. The file may be moved away at any time, as log rotation
    does. Raises StoreUnavailable if a line cannot be written: what is not logged does not go on.
    """

    def __init__(self, path: Path, *, by: str = "") -> None:
        self.path = path
        self._by = {"by": by} if by else {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise self._unavailable(error) from error

    def __call__(self, at_ms: int, action: str, session_id: str, facts: Json) -> None:
        at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        line = {"at": at, "action": action, "session_id": session_id, **self._by, **facts}
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, dumps(line).encode() + b"\n")
            finally:
                os.close(handle)
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"audit log {self.path} cannot be written: {error.strerror}")
