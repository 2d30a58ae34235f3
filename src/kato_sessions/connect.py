"""A store from its URL: `memory:`, `files:PATH`, `sqlite:PATH`, `redis://host:port/db`."""

from importlib.util import find_spec
from pathlib import Path

from kato_sessions.backend import Backend
from kato_sessions.cipher import Cipher
from kato_sessions.errors import InvalidSession
from kato_sessions.guard import Redact
from kato_sessions.model import DAY_MS, Clock, now_ms
from kato_sessions.profile import SERVICE, Profile
from kato_sessions.store import Audit, Store


def open_store(
    url: str,
    *,
    profile: Profile = SERVICE,
    clock: Clock = now_ms,
    redact: Redact | None = None,
    audit: Audit | None = None,
    cipher: Cipher | None = None,
) -> Store:
    """Open the store at `url`, making its folder or file if absent; a cipher seals what it keeps.

    Raises InvalidSession for a URL it does not know and StoreUnavailable if it cannot be opened.
    """
    backend = open_backend(url, profile)
    return Store(backend, profile, clock=clock, redact=redact, audit=audit, cipher=cipher)


def open_backend(url: str, profile: Profile = SERVICE) -> Backend:
    """Only the backend, imported when it is asked for."""
    kind, _, place = url.partition(":")
    if kind == "memory":
        from kato_sessions.memory import MemoryBackend

        return MemoryBackend()
    if kind == "sqlite" and place:
        from kato_sessions.sqlite import SqliteBackend

        return SqliteBackend(_path(place))
    if kind == "files" and place:
        from kato_sessions.files import FilesBackend

        return FilesBackend(_path(place))
    if kind in {"redis", "rediss", "unix"}:
        if find_spec("redis") is None:
            raise InvalidSession(
                f"store {url!r} needs the package redis", hint="pip install 'kato-manager[redis]'"
            )
        from kato_sessions.redis import RedisBackend

        grace_ms = 0 if profile.on_expire == "purge" else DAY_MS
        return RedisBackend(url, grace_ms=grace_ms)
    raise InvalidSession(
        f"store {url!r} is unknown",
        hint="use memory:, files:PATH, sqlite:PATH or redis://HOST:PORT/DB",
    )


def is_there(url: str) -> bool:
    """Whether a store of files exists already; True for what is not in files."""
    kind, _, place = url.partition(":")
    return kind not in {"files", "sqlite"} or _path(place).exists()


def archive_folder(url: str) -> Path | None:
    """Where sessions of a store are archived: beside its file, or None for one without files."""
    kind, _, place = url.partition(":")
    if kind == "files":
        return _path(place) / "archive"
    if kind == "sqlite":
        path = _path(place)
        return path.parent / f"{path.stem}-archive"
    return None


def _path(place: str) -> Path:
    """`sqlite:PATH` and `sqlite:///PATH` both name a file; `~` is the home folder."""
    return Path(place.removeprefix("//")).expanduser()
