"""Environment variables of an entry that stand in files: `env_file`, by the Compose rules.

env_file: service.env
env_file: [common.env, {path: own.env, required: false}]
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kato_manager.config.interpolate import read_env
from kato_manager.config.node import Node, member
from kato_manager.config.problems import Problems
from kato_manager.errors import ConfigError

KEY = "env_file"
_EXPECTED = "expected files, each a path or {path: own.env, required: false}"


def as_layer(node: Node, variables: Mapping[str, str], problems: Problems) -> Node:
    """What `env_file` names, as a layer to be laid below its entry; later files win.

    Paths are relative to the file that names them; `variables` are those that values may hold.
    """
    found: dict[str, Node] = {}
    for file in _files(node, problems):
        for name, value in _read(file, variables, problems).items():
            found[name] = Node(value, member("env", name), node.place, node.key)
    return Node({"env": Node(found, "env", node.place, node.key)}, "", node.place)


@dataclass(frozen=True, slots=True)
class _File:
    node: Node
    path: str
    is_required: bool


def _files(node: Node, problems: Problems) -> Iterator[_File]:
    listed = [node] if isinstance(node.value, str | Mapping) else node.value or ()
    for one in listed:
        path = one.items.get("path") if one.items else one
        required = one.items.get("required")
        word = "true" if required is None else str(required.value).lower()
        unknown = one.items.keys() - {"path", "required"}
        if path is None or not isinstance(path.value, str) or unknown or word not in _WORDS:
            problems.add(one, _EXPECTED)
        else:
            yield _File(path, path.value, _WORDS[word])


_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _read(file: _File, variables: Mapping[str, str], problems: Problems) -> dict[str, str]:
    path = Path(file.node.place.source.name).parent / Path(file.path).expanduser()
    if not file.is_required and not path.exists():
        return {}
    try:
        return variables_of(path, variables)
    except ConfigError as error:
        problems.add(file.node, error.message)
    return {}


def variables_of(path: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """What one file sets; raises `ConfigError` that begins with the path."""
    try:
        return read_env(path.read_text(encoding="utf-8-sig"), variables)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        why = (error.strerror or "").lower()
        raise ConfigError(f"{path}: cannot be read: {why}") from error
    except ValueError as error:
        raise ConfigError(f"{path}:{error}") from error
