"""A template declares a kind of processor: how it runs, and which settings it knows.

The file, every key but `image` or `command` optional:

    description: one line for `kato templates list`
    extends: kato                 start from another template, change what follows
    image: kato-processor:latest
    command: ["{python}", -m, kato_processor, --fd, "{fd}"]    local processes; see model.Launch
    listen: fd                    fd | port
    container_port: 8000
    data_path: /data
    health: {path: /health, identity: instance_id}
    environment: {KATO_INSTANCE_ID: "{id}"}
    services: [redis]
    settings:
      recall_threshold: {type: number, minimum: 0, maximum: 1, default: 0.1, env: RECALL_THRESHOLD,
                         aliases: [recall], help: how similar a pattern must be}
    ignored: {zmq_port: why a known key of other tools has no effect here}
    defaults: {prefix: keep}      any key of an instance
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from kato_manager.config.node import Node, Place, Source, member
from kato_manager.config.problems import Problems
from kato_manager.config.values import MISSING, fields_of, read, read_fields
from kato_manager.model import Json, Launch

Kind = Literal["integer", "number", "boolean", "text", "list"]
_TYPES: Mapping[str, type] = {"integer": int, "number": float, "boolean": bool, "text": str}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: the source of its flag, its check, its environment variable and its help."""

    name: str
    type: Kind = "text"
    default: Json = None  # None: not passed on unless given
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    env: str = ""  # empty: stored and shown only
    help: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def hint(self) -> Any:
        """Its Python type with the constraints, as `values.read` and the JSON Schema want it."""
        base: Any = Literal[self.choices] if self.choices else _TYPES.get(self.type, str)
        if self.minimum is not None:
            base = Annotated[base, Ge(_plain_number(self.minimum))]
        if self.maximum is not None:
            base = Annotated[base, Le(_plain_number(self.maximum))]
        return tuple[base, ...] if self.type == "list" else base

    def in_environment(self, value: Json) -> str:
        """The text a process reads from its environment variable."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | int | float):
            return str(value)
        return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Template:
    """A kind of processor. `source` names its file; `defaults` is a layer below every entry."""

    name: str
    launch: Launch
    description: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    defaults: Node = field(default_factory=lambda: Node({}, "", Place(Source(""))))
    source: str = ""

    @cached_property
    def spelled(self) -> Mapping[str, str]:
        """Every spelling of every setting -> its name."""
        aliases = {a: one.name for one in self.settings.values() for a in one.aliases}
        return {name: name for name in self.settings} | aliases


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    type: Kind = "text"
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    env: str = ""
    help: str = ""


_LAUNCH_KEYS = frozenset(one.name for one in fields(Launch))
_OWN_KEYS = frozenset({"description", "extends", "settings", "ignored", "defaults", "name"})


def from_node(name: str, node: Node, problems: Problems, base: Template | None = None) -> Template:
    """Read a template; with `base`, what is not said here is as it is there."""
    base = base or Template(name=name, launch=Launch())
    known = {key: one for key, one in node.items.items() if key in _LAUNCH_KEYS}
    for key, one in node.items.items():
        if key not in _LAUNCH_KEYS | _OWN_KEYS and not key.startswith("x-"):
            problems.unknown(one, key, _LAUNCH_KEYS | _OWN_KEYS, "key of a template")
    launch = read_fields(Node(known, node.path, node.place), fields_of(Launch), problems)
    merged = {key: getattr(base.launch, key) for key in _LAUNCH_KEYS} | launch
    merged["environment"] = {**base.launch.environment, **launch.get("environment", {})}
    return Template(
        name=name,
        launch=Launch(**merged),
        description=_text(node, "description", problems) or base.description,
        settings=dict(base.settings) | _settings(node.items.get("settings"), problems),
        ignored=dict(base.ignored) | _texts(node.items.get("ignored"), problems),
        defaults=_merged(base.defaults, node.items.get("defaults")),
        source=node.place.source.name,
    )


def _text(node: Node, key: str, problems: Problems) -> str:
    one = node.items.get(key)
    value = read(one, str, problems) if one else ""
    return "" if value is MISSING else str(value)


def _texts(node: Node | None, problems: Problems) -> dict[str, str]:
    value = read(node, Mapping[str, str], problems) if node else {}
    return {} if value is MISSING else dict(value)


def _settings(node: Node | None, problems: Problems) -> dict[str, Setting]:
    if node is None:
        return {}
    if not isinstance(node.value, Mapping):
        problems.add(node, "expected a mapping of settings")
    return {name: _setting(name, one, problems) for name, one in node.items.items()}


def _setting(name: str, node: Node, problems: Problems) -> Setting:
    rest = {key: one for key, one in node.items.items() if key != "default"}
    known = read_fields(
        Node(rest or node.value, node.path, node.place), fields_of(_Setting), problems
    )
    setting = Setting(name=name, **known)
    given = node.items.get("default")
    if given is None or given.value is None:
        return setting
    default = read(given, setting.hint, problems)
    return setting if default is MISSING else Setting(name=name, default=_json(default), **known)


def _merged(below: Node, above: Node | None) -> Node:
    if above is None:
        return below
    items = dict(below.items)
    for key, one in above.items.items():
        items[key] = _merged(items[key], one) if one.items and key in items else one
    return Node(items, above.path or member("", "defaults"), above.place)


def _json(value: Any) -> Json:
    return list(value) if isinstance(value, tuple) else value


def _plain_number(bound: float) -> float:
    return int(bound) if bound == int(bound) else bound
