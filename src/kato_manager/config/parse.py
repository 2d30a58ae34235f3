"""The one door: whatever the user wrote becomes an `InstanceSpec`, or every mistake is told."""

import dataclasses
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kato_manager.config.node import Node, Place, Source, element, from_plain, member, shown
from kato_manager.config.problems import Problems
from kato_manager.config.template import Template
from kato_manager.config.values import (
    MISSING,
    fields_of,
    is_given,
    read,
    read_fields,
    seconds,
    size_bytes,
)
from kato_manager.model import Health, InstanceSpec, Json, Launch, to_json
from kato_manager.names import id_problem

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
_GPUS = re.compile(r"|all|[1-9][0-9]{0,2}|device=[\w:-]+(,[\w:-]+)*", re.ASCII)
_COMMANDS = frozenset({"command", "args"})


def parse_spec(
    raw: Mapping[str, Any],
    template: Template,
    *,
    source: str = "",
    warn: Callable[[str], None] | None = None,
) -> InstanceSpec:
    """The spec that flags or a request body describe; raises `ConfigError` with every mistake.

    Settings stand flat or under `settings`, under any of their names; numbers and booleans may be
    given as text. `source` begins each message; `warn` is told what has no effect.
    """
    problems = Problems()
    entry = canonical(from_plain(raw, Place(Source(source))), template, problems)
    spec = build(entry, template, problems)
    problems.raise_if_any()
    _tell(problems, warn)
    return spec


def override(
    spec: InstanceSpec,
    raw: Mapping[str, Any],
    template: Template,
    *,
    source: str = "",
    warn: Callable[[str], None] | None = None,
) -> InstanceSpec:
    """The recorded spec with some values changed; how it is launched stays as recorded."""
    problems = Problems()
    place = Place(Source(source))
    recorded = canonical(from_plain(_as_entry(spec), place), template, Problems())
    above = canonical(from_plain({"id": spec.id, **raw}, place), template, problems)
    changed = build(overlaid(recorded, above), template, problems)
    problems.raise_if_any()
    _tell(problems, warn)
    given = {key: getattr(changed.launch, key) for key in above.items if key in LAUNCH_FIELDS}
    own = {
        key: text for key, text in spec.launch.environment.items() if key not in _names(template)
    }
    environment = {**own, **changed.launch.environment}
    launch = dataclasses.replace(spec.launch, **given, environment=environment)
    return dataclasses.replace(changed, launch=launch)


def _tell(problems: Problems, warn: Callable[[str], None] | None) -> None:
    for warning in problems.warnings:
        if warn:
            warn(str(warning))


def _as_entry(spec: InstanceSpec) -> dict[str, Json]:
    return {key: value for key, value in to_json(spec).items() if key != "launch"}


def _names(template: Template) -> set[str]:
    return {setting.env for setting in template.settings.values() if setting.env}


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


def build(entry: Node, template: Template, problems: Problems) -> InstanceSpec:
    """The spec of a canonical entry; worth nothing if `problems` has any afterwards."""
    entry = overlaid(canonical(template.defaults, template, problems), entry)
    known = {key: node for key, node in entry.items.items() if key in FIELDS}
    values = read_fields(Node(known, entry.path, entry.place), FIELDS, problems)
    settings = _read_settings(entry.items.get("settings"), template, problems)
    _check_id(entry, values, problems)
    _check_env(entry, problems)
    _check_gpus(entry, problems)
    values |= {"id": values.get("id", ""), "template": template.name, "settings": settings}
    return InstanceSpec(**values, launch=_launch(entry, template, settings, problems))


def _read_settings(node: Node | None, template: Template, problems: Problems) -> dict[str, Json]:
    given = {}
    for name, one in node.items.items() if node else ():
        setting = template.settings[name]
        if not is_given(one, setting.hint):
            continue
        value = read(_as_list(one) if setting.type == "list" else one, setting.hint, problems)
        if value is not MISSING:
            given[name] = list(value) if isinstance(value, tuple) else value
    known = {name: given.get(name, one.default) for name, one in template.settings.items()}
    return {name: value for name, value in known.items() if value is not None}


def _as_list(node: Node) -> Node:
    """A list written as one text, `a,b`, as flags and interpolated values have it."""
    if not isinstance(node.value, str):
        return node
    words = [word.strip() for word in node.value.strip("[] ").split(",")]
    elements = [dataclasses.replace(node, value=word) for word in words if word]
    return dataclasses.replace(node, value=elements)


def _check_id(entry: Node, values: Mapping[str, Json], problems: Problems) -> None:
    node = entry.items.get("id")
    if node is None or node.value is None:
        problems.add(entry, 'the instance has no id, give it one: "id: my-processor"')
    elif "id" in values and (problem := id_problem(values["id"])):
        problems.add(node, f"{shown(node)} {problem}")


def _check_env(entry: Node, problems: Problems) -> None:
    for key, node in entry.items["env"].items.items() if "env" in entry.items else ():
        if not key or "=" in key:
            problems.add_key(node, "is no name of an environment variable")


def _check_gpus(entry: Node, problems: Problems) -> None:
    node = entry.items["limits"].items.get("gpus") if "limits" in entry.items else None
    if node and isinstance(node.value, str) and not _GPUS.fullmatch(node.value):
        problems.add(node, f"expected all, a count, or device=0,1, not {shown(node)}")


def _launch(
    entry: Node, template: Template, settings: Mapping[str, Json], problems: Problems
) -> Launch:
    known = {key: node for key, node in entry.items.items() if key in LAUNCH_FIELDS}
    given = read_fields(Node(known, entry.path, entry.place), LAUNCH_FIELDS, problems)
    if "health" in given:
        unsaid = {key: getattr(template.launch.health, key) for key in fields_of(Health)}
        said = {key: getattr(given["health"], key) for key in known["health"].items}
        given["health"] = Health(**(unsaid | said))
    environment = dict(template.launch.environment)
    for name, value in settings.items():
        if variable := template.settings[name].env:
            environment[variable] = template.settings[name].in_environment(value)
    return dataclasses.replace(template.launch, **given, environment=environment)
