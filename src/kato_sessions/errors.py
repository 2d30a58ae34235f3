"""What can go wrong with a session, each with a stable `code` that HTTP bodies repeat.

SessionError
SessionNotFound    code session_unknown | session_expired | session_deleted | session_archived
SessionExists      code session_exists
VersionConflict    code version_conflict      carries `expected` and `actual`
SessionLimit       code session_limit
InvalidSession     code session_invalid       a bad id, value or limit
SettingInvalid     code session_invalid       the same in a configuration, with its path
StoreUnavailable   code store_unavailable     the store did not answer
RecordCorrupt      code record_corrupt        one record cannot be read, the others can
SessionSealed      code session_sealed        it is encrypted with a key that is not given
"""

from collections.abc import Iterable
from typing import Self


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


class SettingInvalid(InvalidSession):
    """A setting that cannot be; `path` is where it stands, as in `sessions.redact[1].pattern`.

    `at_key` is True when its name is wrong, not its value.
    """

    def __init__(self, path: str, problem: str, *, hint: str = "", at_key: bool = False) -> None:
        super().__init__(f"{path}: {problem}", hint=hint)
        self.path = path
        self.problem = problem
        self.at_key = at_key

    @classmethod
    def unknown(
        cls, path: str, word: str, known: Iterable[str], *, kind: str = "setting", hint: str = ""
    ) -> Self:
        """A word that is none of the known ones, with the one that was probably meant."""
        from difflib import get_close_matches

        meant = "".join(get_close_matches(word, list(known), n=1))
        question = f', did you mean "{meant}"?' if meant else ""
        return cls(path, f"unknown {kind}{question}", hint=hint, at_key=True)


class StoreUnavailable(SessionError):
    """The store did not answer; says nothing about whether a session exists."""

    code = "store_unavailable"


class RecordCorrupt(SessionError):
    """One record cannot be read; `kato sessions doctor` sets it aside."""

    code = "record_corrupt"


class SessionSealed(RecordCorrupt):
    """What it holds is encrypted with a key that is not given; nothing of it is changed."""

    code = "session_sealed"

    def __init__(self, session_id: str, *, key: str) -> None:
        super().__init__(
            f"session {session_id!r} is sealed with key {key!r}, which is not given",
            hint="add the key to the key file that sessions.encryption names",
        )
        self.session_id = session_id
        self.key = key
