"""Where sessions of a `KATO_HOME` are kept, and how they live: one answer for gateway and commands.

`sessions:` of config.yaml has the guide's keys; relative paths in it begin at `KATO_HOME`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kato_manager.errors import ConfigError
from kato_manager.settings import Settings
from kato_sessions import config
from kato_sessions.archive import Archive
from kato_sessions.connect import open_store
from kato_sessions.errors import InvalidSession
from kato_sessions.profile import SERVICE, Profile
from kato_sessions.store import Store

GATEWAY = replace(
    SERVICE, name="gateway", touch_on="op", on_expire="archive", id_form="session-hex"
)
_FILES = {"sqlite": "sessions.db", "files": "sessions"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """`url` of the store, its rules, and the folders beside it."""

    url: str
    profile: Profile
    archive: Path
    bindings: Path

    def open_store(self) -> Store:
        return open_store(self.url, profile=self.profile)

    def open_archive(self) -> Archive:
        return Archive(self.archive, compress=self.profile.archive_gzip)


def places_of(settings: Settings, environ: Mapping[str, str], url: str | None = None) -> Places:
    """Precedence: `url`, environment, config.yaml, defaults. Raises `ConfigError`."""
    home = settings.home
    block = settings.config.get("sessions") or {}
    if not isinstance(block, Mapping):
        raise ConfigError("config.yaml: sessions: expected keys and values")
    try:
        found = config.from_block(_completed(block, home), GATEWAY)
        profile, _ = config.from_environment(environ, found.profile)
    except InvalidSession as error:
        raise ConfigError(f"config.yaml: {error}", hint=f"correct {home}/config.yaml") from error
    return Places(
        url=url or found.url,
        profile=profile,
        archive=_archive_folder(url, home),
        bindings=home / "bindings.db",
    )


def _completed(block: Mapping[str, object], home: Path) -> dict[str, object]:
    kind = str(block.get("storage_type", "sqlite"))
    place = block.get("db_path", _FILES.get(kind))
    whole = {**block, "storage_type": kind}
    if kind in _FILES and isinstance(place, str):
        whole["db_path"] = str(home / Path(place).expanduser())
    return whole


def _archive_folder(url: str | None, home: Path) -> Path:
    """A file store has its archive inside, as its guide says; others beside the home's store."""
    kind, _, place = (url or "").partition(":")
    if kind == "files":
        return Path(place.removeprefix("//")).expanduser() / "archive"
    if kind == "sqlite":
        path = Path(place.removeprefix("//")).expanduser()
        return path.with_name(f"{path.stem}-archive")
    return home / "sessions-archive"
