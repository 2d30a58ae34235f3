"""What the user wrote, as a tree that knows where every value stands."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kato_manager.errors import ConfigError

MAX_DEPTH = 50

_NUMBER = re.compile(r"[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file, flag set or request body; `lines` is empty where there is no text to show."""

    name: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column count from 1; line 0 means the source as a whole."""

    source: Source
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}" if self.line else self.source.name


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A text, None, a list or a mapping; `key` is where its name stands, `place` its value."""

    value: "str | Sequence[Node] | Mapping[str, Node] | None"
    path: str
    place: Place
    key: Place | None = None

    @property
    def items(self) -> Mapping[str, "Node"]:
        """The members of a mapping; none for everything else."""
        return self.value if isinstance(self.value, Mapping) else {}


def member(path: str, key: str) -> str:
    """The path of a key: `a.b`, or `a["b.c"]` where a dot would mislead."""
    if not key or set(key) & set(".[]\"' "):
        return f"{path}[{_quoted(key)}]"
    return f"{path}.{key}" if path else key


def element(path: str, index: int) -> str:
    return f"{path}[{index}]"


def from_plain(value: Any, place: Place, path: str = "", depth: int = 0) -> Node:
    """A tree of plain Python or JSON data; numbers and booleans become the text that means them.

    Raises `ConfigError` for what is nested deeper than any value can be.
    """
    if depth > MAX_DEPTH:
        raise ConfigError(f"{place}: nested deeper than {MAX_DEPTH} levels".removeprefix(": "))
    if isinstance(value, Mapping):
        named = {str(key): (member(path, str(key)), one) for key, one in value.items()}
        members = {key: from_plain(v, place, at, depth + 1) for key, (at, v) in named.items()}
        return Node(members, path, place)
    if isinstance(value, list | tuple):
        elements = [from_plain(v, place, element(path, i), depth + 1) for i, v in enumerate(value)]
        return Node(elements, path, place)
    if value is None or isinstance(value, str):
        return Node(value, path, place)
    if isinstance(value, bool):
        return Node("true" if value else "false", path, place)
    return Node(str(value), path, place)


def to_plain(node: Node) -> Any:
    """The inverse of `from_plain`, with text for every scalar."""
    if isinstance(node.value, Mapping):
        return {key: to_plain(one) for key, one in node.value.items()}
    if isinstance(node.value, str) or node.value is None:
        return node.value
    return [to_plain(one) for one in node.value]


def shown(node: Node, limit: int = 60) -> str:
    """The value as the user would recognise it, in one short line."""
    if node.value is None:
        return "nothing"
    if isinstance(node.value, str) and _NUMBER.fullmatch(node.value):
        return node.value if len(node.value) <= limit else node.value[:limit] + "..."
    if isinstance(node.value, str):
        return _quoted(node.value if len(node.value) <= limit else node.value[:limit] + "...")
    return "keys and values" if isinstance(node.value, Mapping) else "a list"


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=not text.isprintable())
