"""What can go wrong with a session, each with a stable `code` that HTTP bodies repeat.

SessionError
SessionNotFound    code session_unknown | session_expired | session_deleted | session_archived
SessionExists      code session_exists
VersionConflict    code version_conflict      carries `expected` and `actual`
SessionLimit       code session_limit
InvalidSession     code session_invalid       a bad id, value or limit
StoreUnavailable   code store_unavailable     the store did not answer
RecordCorrupt      code record_corrupt        one record cannot be read, the others can
"""


class SessionError(Exception):
    """Base of all: `str()` is for people, `code` for programs, `hint` is what to type."""

    code = "session_error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class SessionNotFound(SessionError):
    """No live session has this id; `code` tells whether one ever had."""

    def __init__(self, session_id: str, *, code: str = "session_unknown") -> None:
        why = {
            "session_unknown": "no session has this id",
            "session_expired": "it has expired",
            "session_deleted": "it was deleted",
            "session_archived": "it is archived",
        }[code]
        hint = f"kato sessions restore {session_id}" if code == "session_archived" else ""
        super().__init__(f"session {session_id!r} not found: {why}", hint=hint)
        self.session_id = session_id
        self.code = code


class SessionExists(SessionError):
    """The wanted id belongs to a live session."""

    code = "session_exists"


class VersionConflict(SessionError):
    """The session changed since it was read: read it again, then repeat the change."""

    code = "version_conflict"

    def __init__(self, session_id: str, *, expected: int, actual: int) -> None:
        super().__init__(
            f"session {session_id!r} is at version {actual}, not {expected}",
            hint="read the session again and repeat the change",
        )
        self.session_id = session_id
        self.expected = expected
        self.actual = actual


class SessionLimit(SessionError):
    """Creating one more would pass a limit and the profile says `reject`."""

    code = "session_limit"


class InvalidSession(SessionError):
    """An id, value or setting that no session may have."""

    code = "session_invalid"


class StoreUnavailable(SessionError):
    """The store did not answer; says nothing about whether a session exists."""

    code = "store_unavailable"


class RecordCorrupt(SessionError):
    """One record cannot be read; `kato sessions doctor` sets it aside."""

    code = "record_corrupt"
