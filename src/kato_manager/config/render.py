"""Prints a resolved document again: every value, and where each came from."""

import json
import re
from collections.abc import Iterator, Mapping

from kato_manager.config.canonical import LAUNCH_FIELDS
from kato_manager.config.document import Document
from kato_manager.config.node import Node
from kato_manager.config.resolve import Resolved
from kato_manager.model import Json, to_json

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = frozenset("true false yes no on off null y n".split())


def to_document(document: Document, *, show_origin: bool) -> list[dict[str, Json]]:
    """The instances as JSON data; with origins, a place for each dotted path of a value."""
    return [
        {**values(one), **({"origin": dict(_origins(one))} if show_origin else {})}
        for one in document.instances
    ]


def to_text(document: Document, *, show_origin: bool) -> Iterator[str]:
    """The lines of a file that means the same, with the places as comments."""
    yield "instances:" if document.instances else "instances: []"
    for one in document.instances:
        origins = dict(_origins(one)) if show_origin else {}
        for number, (path, line) in enumerate(_lines(values(one), "")):
            place = f"  # {origins[path]}" if path in origins else ""
            yield f"  {'- ' if number == 0 else '  '}{line}{place}"


def values(one: Resolved) -> dict[str, Json]:
    """An entry that needs no defaults, shared values or variables any more."""
    spec: dict[str, Json] = {
        "id": one.spec.id,
        "name": one.spec.name,
        "template": one.spec.template,
    }
    spec |= to_json(one.spec)
    launch = spec.pop("launch", {})
    given = {key: launch[key] for key in one.entry.items if key in LAUNCH_FIELDS and key in launch}
    return {**spec, **given}


def _lines(values: Mapping[str, Json], indent: str, above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        path = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            yield path, f"{indent}{_scalar(key)}:"
            yield from _lines(value, indent + "  ", path + ".")
        else:
            yield path, f"{indent}{_scalar(key)}: {_flow(value)}"


def _flow(value: Json) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_scalar(one) for one in value)}]"
    return _scalar(value)


def _scalar(value: Json) -> str:
    is_plain = isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return str(value) if is_plain else _escaped(json.dumps(value, ensure_ascii=False))


def _escaped(text: str) -> str:
    """So that reading it again takes no dollar sign for a variable."""
    return text.replace("$", "$$")


def _origins(one: Resolved) -> Iterator[tuple[str, str]]:
    for path, value in _leaves(values(one)):
        node = _said(one.entry, path)
        if node is not None:
            yield ".".join(path), str(node.place) or "command line"
        elif path[0] == "settings" and value == one.template.settings[path[1]].default:
            yield ".".join(path), f"template {one.template.name}"
        else:
            yield ".".join(path), "default"


def _leaves(
    values: Mapping[str, Json], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Json]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _said(entry: Node, path: tuple[str, ...]) -> Node | None:
    node: Node | None = entry
    for key in path:
        node = node.items.get(key) if node is not None else None
    return node
