"""Layers of an entry with every key under its own name, so that one can be laid on another."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from kato_manager.config.node import Node, element, member, shown
from kato_manager.config.problems import Problems
from kato_manager.config.template import Template
from kato_manager.config.values import fields_of, seconds, size_bytes
from kato_manager.model import InstanceSpec, Launch

FIELDS: Mapping[str, Any] = {
    name: hint
    for name, hint in fields_of(InstanceSpec).items()
    if name not in {"settings", "launch"}
}
LAUNCH_FIELDS: Mapping[str, Any] = {
    name: hint for name, hint in fields_of(Launch).items() if name not in {"environment", "listen"}
}
ALIASES: Mapping[str, str] = {
    "environment": "env",
    "idle_timeout": "idle_timeout_s",
    "grace": "grace_s",
    "ready_timeout": "ready_timeout_s",
}
_MERGED = frozenset({"settings", "env", "labels", "limits", "health"})
_COMMANDS = frozenset({"command", "args"})


def canonical(entry: Node, template: Template, problems: Problems) -> Node:
    """One layer of an entry with every key under its own name, and settings under `settings`."""
    if not isinstance(entry.value, Mapping):
        problems.add(entry, f"expected keys and values, not {shown(entry)}")
        return Node({}, entry.path, entry.place)
    found: dict[str, Node] = {}
    settings: dict[str, Node] = {}
    for key, node in entry.value.items():
        name = ALIASES.get(key, key)
        if name == "settings":
            _take_settings(node, template, settings, problems)
        elif name in FIELDS or name in LAUNCH_FIELDS:
            _take(found, name, _normal(name, node), problems)
        elif key in template.spelled:
            _take(settings, template.spelled[key], node, problems)
        else:
            _unknown(key, node, template, problems)
    if settings:
        found["settings"] = Node(settings, member(entry.path, "settings"), entry.place)
    return Node(found, entry.path, entry.place, entry.key)


def _take_settings(
    node: Node, template: Template, settings: dict[str, Node], problems: Problems
) -> None:
    if node.value is not None and not isinstance(node.value, Mapping):
        problems.add(node, f"expected keys and values, not {shown(node)}")
    for key, one in node.items.items():
        if key in template.spelled:
            _take(settings, template.spelled[key], one, problems)
        elif key in template.ignored:
            problems.warn(one, f"ignored: {template.ignored[key]}")
        elif not key.startswith("x-"):
            problems.unknown(one, key, template.spelled)


def _take(found: dict[str, Node], name: str, node: Node, problems: Problems) -> None:
    if name in found:
        problems.add_key(node, f"given twice, first as {found[name].path}")
    found[name] = node


def _unknown(key: str, node: Node, template: Template, problems: Problems) -> None:
    if key.startswith("x-"):
        return
    if key in template.ignored:
        problems.warn(node, f"ignored: {template.ignored[key]}")
        return
    problems.unknown(node, key, [*template.spelled, *FIELDS, *LAUNCH_FIELDS, *ALIASES, "settings"])


def _normal(name: str, node: Node) -> Node:
    """Shorthands spelled out: durations, sizes, command lines, `K=V` lists, a bare health path."""
    text = node.value
    if isinstance(text, str):
        if name.endswith("_s"):
            return dataclasses.replace(node, value=seconds(text))
        if name in _COMMANDS:
            return dataclasses.replace(node, value=_words(text, node))
        if name == "health":
            return dataclasses.replace(node, value={"path": node})
    if name == "env" and isinstance(text, Sequence) and not isinstance(text, str):
        return dataclasses.replace(node, value=_pairs(text, node.path))
    if name == "limits" and (memory := node.items.get("memory")):
        rest = {key: one for key, one in node.items.items() if key != "memory"}
        return dataclasses.replace(node, value=rest | {"memory_bytes": _sized(memory)})
    return node


def _sized(memory: Node) -> Node:
    text = memory.value
    return dataclasses.replace(memory, value=size_bytes(text)) if isinstance(text, str) else memory


def _words(command: str, node: Node) -> list[Node]:
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote: the program gets the text as it stands
        words = [command]
    return [
        dataclasses.replace(node, value=w, path=element(node.path, i)) for i, w in enumerate(words)
    ]


def _pairs(elements: Sequence[Node], path: str) -> dict[str, Node]:
    pairs = {}
    for one in elements:
        key, _, value = one.value.partition("=") if isinstance(one.value, str) else ("", "", "")
        pairs[key] = dataclasses.replace(one, value=value, path=member(path, key))
    return pairs


def overlaid(below: Node, above: Node) -> Node:
    """Two canonical layers as one: settings, env, labels and limits key by key, the rest whole."""
    items = dict(below.items)
    for key, node in above.items.items():
        if key in _MERGED and key in items and items[key].items and node.items:
            items[key] = dataclasses.replace(node, value={**items[key].items, **node.items})
        else:
            items[key] = node
    return Node(items, above.path, above.place, above.key)
