"""Reads YAML 1.2 and JSON into a tree of nodes, straight from the parser's events.

PyYAML's own constructor would turn `no` into False, `0755` into 493 and keep the last of two equal
keys without a word; here a scalar stays the text it is, and every mistake has its place.
Depth and number of values are bounded, so no file costs more than a moment.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import yaml
from yaml.events import (
    AliasEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from kato_manager.config.node import MAX_DEPTH, Node, Place, Source, element, member
from kato_manager.config.problems import Problems

MAX_BYTES = 8 * 1024 * 1024
MAX_VALUES = 60_000
MAX_KEY_LENGTH = 500  # every path below a key repeats it
NULL_WORDS = frozenset({"", "~", "null", "Null", "NULL"})

_SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


class _Stop(Exception):
    """Unwinds to `_read_text`; the problem has been told."""


Expand = Callable[[str], str]


def read_file(path: Path, name: str, problems: Problems, expand: Expand = str) -> Node | None:
    """The content of a file, None when it is empty or cannot be read; problems are collected."""
    place = Place(Source(name))
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        problems.at(place, "", f"cannot be read: {(error.strerror or str(error)).lower()}")
        return None
    if size > MAX_BYTES:
        problems.at(place, "", f"has {size} bytes, at most {MAX_BYTES} are read")
        return None
    return read_bytes(content, name, problems, expand)


def read_bytes(content: bytes, name: str, problems: Problems, expand: Expand = str) -> Node | None:
    """The content of a file that is already read; `expand` fills variables into each value."""
    if len(content) > MAX_BYTES:
        problems.at(Place(Source(name)), "", f"is longer than the {MAX_BYTES} bytes that are read")
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        problems.at(Place(Source(name), line, column), "", "this byte is not UTF-8 text")
        return None
    return _read_text(text, name, problems, expand)


def _read_text(text: str, name: str, problems: Problems, expand: Expand) -> Node | None:
    if text.lstrip().startswith(("{", "[")):
        text = _SURROGATES.sub(_joined_surrogates, text)  # JSON writes them so, YAML does not
    source = Source(name, tuple(text.splitlines()))
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Builder(source, problems, expand).document(yaml.parse(text, Loader=loader))
    except _Stop:
        return None
    except yaml.MarkedYAMLError as error:
        problems.at(_marked(source, error), "", _sentence(error))
    except yaml.YAMLError as error:
        problems.at(Place(source), "", f"is not YAML: {str(error).splitlines()[0]}")
    return None


def _marked(source: Source, error: yaml.MarkedYAMLError) -> Place:
    """Where the parser stumbled; an end that comes too early is the end of the last line."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Place(source)
    if mark.line >= len(source.lines) > 0:
        return Place(source, len(source.lines), len(source.lines[-1]) + 1)
    return Place(source, mark.line + 1, mark.column + 1)


def _sentence(error: yaml.MarkedYAMLError) -> str:
    if "maximum nesting depth" in (error.problem or ""):  # libyaml's own bound, seen before ours
        return f"nested deeper than {MAX_DEPTH} levels"
    parts = [error.problem, error.context]
    return " ".join(part for part in parts if part) or "is not YAML"


def _joined_surrogates(match: "re.Match[str]") -> str:
    high, low = int(match[1], 16), int(match[2], 16)
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


class _Builder:
    """Builds the tree top down, so that every value knows its path when it is made."""

    def __init__(self, source: Source, problems: Problems, expand: Expand) -> None:
        self._source = source
        self._expand = expand
        self._problems = problems
        self._anchors: dict[str, Node] = {}
        self._count = 0

    def document(self, events: Iterable[Any]) -> Node | None:
        self._events = iter(events)
        root = None
        for event in self._events:
            if isinstance(event, NodeEvent):
                if root is not None:
                    raise self._told(
                        self._place(event), "", "a second document; one file holds one"
                    )
                root = self._node(event, "", None, 0)
        return root

    def _node(self, event: Any, path: str, key: Place | None, depth: int) -> Node:
        place = self._place(event)
        self._spend(place, path, depth)
        if isinstance(event, AliasEvent):
            return self._alias(event, path, key, depth)
        node: Node
        if isinstance(event, ScalarEvent):
            node = Node(self._text(event, place, path), path, place, key)
        elif isinstance(event, SequenceStartEvent):
            node = Node(self._sequence(path, depth), path, place, key)
        else:
            node = Node(self._mapping(path, depth), path, place, key)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _text(self, event: ScalarEvent, place: Place, path: str) -> str | None:
        if event.implicit[0] and event.value in NULL_WORDS:
            return None
        try:
            return self._expand(event.value)
        except ValueError as error:
            self._problems.at(place, path, str(error))
            return None

    def _sequence(self, path: str, depth: int) -> list[Node]:
        elements: list[Node] = []
        while isinstance(event := next(self._events), NodeEvent):
            elements.append(self._node(event, element(path, len(elements)), None, depth + 1))
        return elements

    def _mapping(self, path: str, depth: int) -> dict[str, Node]:
        members: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        event: Any
        while isinstance(event := next(self._events), NodeEvent):
            key, place = self._key(event, path), self._place(event)
            value = self._node(next(self._events), member(path, key), place, depth + 1)
            if key == "<<" and cast("ScalarEvent", event).implicit[0]:
                merged |= self._merge(value, path, depth)
            elif key in members:
                first = members[key].key
                line = f"line {first.line}, column {first.column}" if first else "above"
                self._problems.at(place, value.path, f"duplicate key, first given at {line}")
            else:
                members[key] = value
        return merged | members

    def _key(self, event: Any, path: str) -> str:
        if not isinstance(event, ScalarEvent):
            raise self._told(self._place(event), path, "a key must be a text")
        if len(event.value) > MAX_KEY_LENGTH:
            message = f"a key of more than {MAX_KEY_LENGTH} characters"
            raise self._told(self._place(event), path, message)
        return str(event.value)

    def _alias(self, event: AliasEvent, path: str, key: Place | None, depth: int) -> Node:
        if event.anchor not in self._anchors:
            message = f"*{event.anchor} names no anchor that is complete here"
            raise self._told(self._place(event), path, message)
        return self._copy(self._anchors[str(event.anchor)], path, key, depth)

    def _copy(self, node: Node, path: str, key: Place | None, depth: int) -> Node:
        """The value of an anchor at another path; places stay where the text stands."""
        self._spend(node.place, path, depth)
        value = node.value
        if isinstance(value, dict):
            value = {
                name: self._copy(one, member(path, name), one.key, depth + 1)
                for name, one in value.items()
            }
        elif isinstance(value, list):
            value = [
                self._copy(one, element(path, i), None, depth + 1) for i, one in enumerate(value)
            ]
        return Node(value, path, node.place, key)

    def _merge(self, node: Node, path: str, depth: int) -> dict[str, Node]:
        """The members a `<<` brings in; of several mappings the first wins."""
        parts = [node] if isinstance(node.value, dict) else list(node.value or ())
        result: dict[str, Node] = {}
        for part in parts if not isinstance(node.value, str) else [node]:
            if not isinstance(part, Node) or not isinstance(part.value, dict):
                self._problems.at(node.place, path, "<< takes a mapping, or a list of mappings")
                return {}
            for name, one in part.value.items():
                result.setdefault(name, self._copy(one, member(path, name), one.key, depth))
        return result

    def _spend(self, place: Place, path: str, depth: int) -> None:
        self._count += 1
        if self._count > MAX_VALUES:
            raise self._told(
                place, path, f"more than {MAX_VALUES} values, aliases counted as written out"
            )
        if depth > MAX_DEPTH:
            raise self._told(place, path, f"nested deeper than {MAX_DEPTH} levels")

    def _place(self, event: Any) -> Place:
        return Place(self._source, event.start_mark.line + 1, event.start_mark.column + 1)

    def _told(self, place: Place, path: str, message: str) -> _Stop:
        self._problems.at(place, path, message)
        return _Stop()
