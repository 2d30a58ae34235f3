"""Where sessions of a `KATO_HOME` are kept, and how they live: one answer for gateway and commands.

`sessions:` of config.yaml has the guide's keys and those of `kato_sessions.protection`; relative
paths in it begin at `KATO_HOME`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kato_manager.errors import ConfigError
from kato_manager.settings import Settings
from kato_sessions import config
from kato_sessions.archive import Archive
from kato_sessions.connect import archive_folder, open_store
from kato_sessions.errors import InvalidSession, SettingInvalid
from kato_sessions.profile import SERVICE, Profile
from kato_sessions.protection import Protection
from kato_sessions.store import Store

if TYPE_CHECKING:
    from kato_manager.config.node import Node

GATEWAY = replace(
    SERVICE, name="gateway", touch_on="op", on_expire="archive", id_form="session-hex"
)
_FILES = {"sqlite": "sessions.db", "files": "sessions"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """`url` of the store, its rules, what guards it, and the files beside it."""

    url: str
    profile: Profile
    protection: Protection
    archive: Path
    bindings: Path

    def open_store(self, *, by: str = "gateway") -> Store:
        """The store; `by` is who the audit log names. Raises `ConfigError`, SessionError."""
        return open_store(self.url, profile=self.profile, **self.guards(by=by))

    def guards(self, *, by: str = "gateway") -> dict[str, Any]:
        """Redaction, audit log and cipher; raises `ConfigError` if the keys are not there."""
        try:
            return self.protection.options(by=by)
        except SettingInvalid as error:
            raise misconfigured(error, self.bindings.parent) from error

    def open_archive(self) -> Archive:
        return Archive(self.archive, compress=self.profile.archive_gzip)


def places_of(settings: Settings, environ: Mapping[str, str], url: str | None = None) -> Places:
    """Precedence: `url`, environment, config.yaml, defaults. Raises `ConfigError`."""
    home = settings.home
    try:
        found = config.from_block(_completed(_block(settings.config), home), GATEWAY, home)
    except SettingInvalid as error:
        raise misconfigured(error, home) from error
    try:
        profile, _ = config.from_environment(environ, found.profile)
    except InvalidSession as error:
        raise ConfigError(str(error)) from error
    return Places(
        url=url or found.url,
        profile=profile,
        protection=found.protection,
        archive=_archive_folder(url, home),
        bindings=home / "bindings.db",
    )


def misconfigured(error: SettingInvalid, home: Path) -> ConfigError:
    """The mistake with its place in config.yaml."""
    from kato_manager.config.problems import Problem, Problems
    from kato_manager.config.source import read_file

    file = home / "config.yaml"
    hint = error.hint or f"correct {file}"
    root = read_file(file, file.name, Problems()) if file.exists() else None
    node = root and next((one for one in _every(root) if one.path == error.path), None)
    if node is None:
        return ConfigError(f"{file.name}: {error}", hint=hint)
    place = (node.key if error.at_key else None) or node.place
    problem = Problem(place, error.path, error.problem)
    return ConfigError("\n".join(filter(None, (str(problem), problem.excerpt))), hint=hint)


def _every(node: "Node") -> Iterator["Node"]:
    yield node
    members = node.items.values() if node.items else node.value or ()
    for one in members:
        if not isinstance(one, str):
            yield from _every(one)


def _block(whole: Mapping[str, Any]) -> Mapping[str, Any]:
    block = whole.get("sessions") or {}
    if not isinstance(block, Mapping):
        raise SettingInvalid("sessions", "expected keys and values")
    return block


def _completed(block: Mapping[str, object], home: Path) -> dict[str, object]:
    kind = str(block.get("storage_type", "sqlite"))
    place = block.get("db_path", _FILES.get(kind))
    whole = {**block, "storage_type": kind}
    if kind in _FILES and isinstance(place, str):
        whole["db_path"] = str(home / Path(place).expanduser())
    return whole


def _archive_folder(url: str | None, home: Path) -> Path:
    """A store that is named has its archive beside or in it; others are beside the home's store."""
    return (archive_folder(url) if url else None) or home / "sessions-archive"
