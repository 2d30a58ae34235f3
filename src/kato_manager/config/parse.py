"""The one door: whatever the user wrote becomes an `InstanceSpec`, or every mistake is told."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from kato_manager.config.canonical import FIELDS, LAUNCH_FIELDS, canonical, overlaid
from kato_manager.config.node import Node, Place, Source, from_plain, shown
from kato_manager.config.problems import Problems
from kato_manager.config.template import Template
from kato_manager.config.values import MISSING, fields_of, is_given, read, read_fields
from kato_manager.model import Health, InstanceSpec, Json, Launch, to_json
from kato_manager.names import id_problem

_GPUS = re.compile(r"|all|[1-9][0-9]{0,2}|device=[\w:-]+(,[\w:-]+)*", re.ASCII)


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


def build(entry: Node, template: Template, problems: Problems) -> InstanceSpec:
    """The spec of a canonical entry; worth nothing if `problems` has any afterwards."""
    entry = overlaid(canonical(template.defaults, template, problems), entry)
    known = {key: node for key, node in entry.items.items() if key in FIELDS}
    values = read_fields(Node(known, entry.path, entry.place), FIELDS, problems)
    settings = _read_settings(entry.items.get("settings"), template, problems)
    _check_id(entry, values, problems)
    _check_group(entry, values, problems)
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


def _check_group(entry: Node, values: Mapping[str, Json], problems: Problems) -> None:
    """A group is a path of the gateway, as an id is."""
    if (group := values.get("group")) and (problem := id_problem(group)):
        problems.add(entry.items["group"], f"{shown(entry.items['group'])} {problem}")


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
        said = fields_of(Health).keys() & known["health"].items.keys()
        values = {key: getattr(given["health"], key) for key in said}
        given["health"] = dataclasses.replace(template.launch.health, **values)
    environment = dict(template.launch.environment)
    for name, value in settings.items():
        if variable := template.settings[name].env:
            environment[variable] = template.settings[name].in_environment(value)
    return dataclasses.replace(template.launch, **given, environment=environment)
