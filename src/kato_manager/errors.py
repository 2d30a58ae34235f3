"""Every error a user can meet, by meaning.

KatoError
├── ConfigError          what the user wrote cannot be right; names the place
├── InstanceNotFound     no such instance, name or group
├── Conflict             the wish clashes with what is there
│   ├── InstanceExists
│   └── PortTaken
├── RuntimeUnavailable   the engine did not answer; never means "absent"
├── NotReady             did not become healthy in time
├── StartFailed          died or was refused while starting
│   └── ImageNotFound
├── RegistryLocked       another process holds the registry
├── RegistryCorrupt      unreadable, and nothing restores it
├── RegistryReadOnly     written by a newer version
└── PartlyFailed         some steps of several failed
"""

from collections.abc import Sequence


class KatoError(Exception):
    """A failure in the user's words; `hint` is what to type next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(KatoError):
    """One or more mistakes in what the user wrote; `problems` holds one line of text each."""

    def __init__(self, message: str, *, hint: str = "", problems: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems) or (message,)


class InstanceNotFound(KatoError):
    pass


class Conflict(KatoError):
    pass


class InstanceExists(Conflict):
    pass


class PortTaken(Conflict):
    pass


class RuntimeUnavailable(KatoError):
    pass


class NotReady(KatoError):
    pass


class StartFailed(KatoError):
    pass


class ImageNotFound(StartFailed):
    pass


class RegistryLocked(KatoError):
    pass


class RegistryCorrupt(KatoError):
    pass


class RegistryReadOnly(KatoError):
    pass


class PartlyFailed(KatoError):
    pass


def together(failures: Sequence[KatoError], *, of: int) -> KatoError:
    """What the failures of `of` steps come to; what several of them say is said once.

    Of several steps that is `PartlyFailed`, but `RuntimeUnavailable` when none of them found its
    engine answering: then nothing was changed.
    """
    if of == 1:
        return failures[0]
    silent = len(failures) == of and all(isinstance(f, RuntimeUnavailable) for f in failures)
    kind = RuntimeUnavailable if silent else PartlyFailed
    return kind("; ".join(dict.fromkeys(map(str, failures))), hint=failures[0].hint)
