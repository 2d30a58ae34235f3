"""Entries of a document become specs: layers on layers, then one spec per variant."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from kato_manager.config import env_files
from kato_manager.config.canonical import FIELDS, LAUNCH_FIELDS, canonical, overlaid
from kato_manager.config.expand import KEYS, Layer, expand
from kato_manager.config.node import Node, shown
from kato_manager.config.parse import build
from kato_manager.config.problems import Problems
from kato_manager.config.sections import Sections
from kato_manager.config.template import Template, from_node
from kato_manager.config.values import MISSING, read
from kato_manager.errors import ConfigError
from kato_manager.model import InstanceSpec

MAX_EXTENDS = 20
DEFAULT_TEMPLATE = "kato"

_META = KEYS | {"extends", "profiles"}
_NOT_INHERITED = _META | {"id", "port"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """One instance: its spec, and the layers' merged entry whose nodes know where they stand.

    `entry_id` is the id as written, before `replicas` and `matrix`.
    """

    spec: InstanceSpec
    entry: Node
    template: Template
    entry_id: str
    profiles: tuple[str, ...] = ()


class Resolver:
    """Turns sections into instances; every mistake goes to `problems`, none is raised."""

    def __init__(
        self,
        sections: Sections,
        folder: Path,
        *,
        template: Callable[[str], Template],
        read: Callable[[str], Iterable[Node]],
        variables: Mapping[str, str],
        problems: Problems,
    ) -> None:
        self._sections = sections
        self._folder = folder
        self._load = template
        self._read = read
        self._variables = variables
        self._problems = problems
        self._templates: dict[str, Template | None] = {}
        self._canonical: dict[tuple[int, str], tuple[Node, Node]] = {}
        self._files: dict[str, Sections] = {}
        self._spelled: frozenset[str] | None = None

    def all(self) -> list[Resolved]:
        """Every instance of the document, active or not, in the order of the files."""
        for entry in self._sections.nameless:
            self._problems.add(entry, 'the instance has no id, give it one: "id: my-processor"')
        found = [one for entry_id in self._sections.entries for one in self._resolve(entry_id)]
        known = {name for one in found for name in (one.entry_id, one.spec.id)}
        for name, node in self._sections.members.items():
            if name not in known:
                self._problems.unknown(node, name, known, f'instance "{name}"')
        return found

    def _resolve(self, entry_id: str) -> Iterator[Resolved]:
        own = self._sections.entries[entry_id]
        layers = [*self._inherited(own, self._sections, MAX_EXTENDS), *own]
        top = _top(layers)
        profiles = self._profiles(top)
        for variant in expand(top, self._problems):
            below = self._below(entry_id, {**top, **variant})
            above = Node(variant, own[-1].path, own[-1].place)
            yield from self._instance(entry_id, below, [*layers, above], profiles)

    def _instance(
        self, entry_id: str, below: list[Node], own: list[Node], profiles: tuple[str, ...]
    ) -> Iterator[Resolved]:
        """One instance of an entry; none when there is no such template."""
        template = self._template(_top([*below, *own]).get("template"))
        if template is None:
            return
        foreign = self._foreign(template)
        layers = [
            *(self._canonical_layer(one, template, without=foreign) for one in below),
            *(self._canonical_layer(one, template) for one in own),
        ]
        entry = reduce(overlaid, layers)
        spec = build(entry, template, self._problems)
        yield Resolved(
            spec=spec, entry=entry, template=template, entry_id=entry_id, profiles=profiles
        )

    def _profiles(self, top: Layer) -> tuple[str, ...]:
        found = read(top["profiles"], tuple[str, ...], self._problems) if "profiles" in top else ()
        return () if found is MISSING else tuple(found)

    def _below(self, entry_id: str, top: Layer) -> list[Node]:
        """The layers under an entry: shared, then its group."""
        sections = self._sections
        listed = sections.members.get(entry_id) or sections.members.get(str(top["id"].value))
        group = top.get("group") or listed or _top(sections.shared).get("group")
        below = list(sections.shared)
        if group is not None and isinstance(group.value, str):
            below += sections.groups.get(group.value, [])
            below.append(Node({"group": group}, group.path, group.place))
        return below

    def _inherited(self, own: list[Node], sections: Sections, depth: int) -> list[Node]:
        """The layers of the entry this one extends, without what belongs to that one alone."""
        extends = _top(own).get("extends")
        if extends is None or extends.value is None:
            return []
        sections, name = self._extended(extends, sections)
        if name is None:
            return []
        if name.value not in sections.entries:
            self._problems.unknown(name, str(name.value), sections.entries, "instance to extend")
            return []
        if not depth:
            self._problems.add(name, f"entries extend one another, or more than {MAX_EXTENDS} deep")
            return []
        base = sections.entries[str(name.value)]
        layers = [*self._inherited(base, sections, depth - 1), *base]
        return [_without(one, _NOT_INHERITED) for one in layers]

    def _extended(self, extends: Node, sections: Sections) -> tuple[Sections, Node | None]:
        """Which file and which entry an `extends` means."""
        if isinstance(extends.value, str):
            return sections, extends
        name, file = extends.items.get("instance"), extends.items.get("file")
        for key, one in extends.items.items():
            if key not in {"instance", "file"}:
                self._problems.unknown(one, key, ("instance", "file"))
        if name is None or not isinstance(name.value, str):
            self._problems.add(extends, "expected an id, or {file: base.yaml, instance: id}")
            return sections, None
        if file is None or not isinstance(file.value, str):
            return sections, name
        path = str(self._folder / file.value)
        if path not in self._files:
            self._files[path] = Sections(self._problems)
            for root in self._read(path):
                self._files[path].add(root)
        return self._files[path], name

    def _foreign(self, template: Template) -> frozenset[str]:
        """Settings that other templates of the document know: shared layers may hold them too."""
        if self._spelled is None:
            entries = (_top(layers) for layers in self._sections.entries.values())
            nodes = {one.get("template") for one in entries} | {
                _top(self._sections.shared).get("template")
            }
            known = (self._template(node) for node in nodes)
            self._spelled = frozenset(key for one in known if one for key in one.spelled)
        return self._spelled - template.spelled.keys() - FIELDS.keys() - LAUNCH_FIELDS.keys()

    def _canonical_layer(
        self, node: Node, template: Template, *, without: frozenset[str] = frozenset()
    ) -> Node:
        """Shared layers are the same nodes for every instance: they are looked at once."""
        key = (id(node), template.name)
        if key not in self._canonical:
            layer = self._with_env_files(node, _kept(node, without), template)
            self._canonical[key] = node, layer  # held, so that its id stays its own
        return self._canonical[key][1]

    def _with_env_files(self, node: Node, kept: Node, template: Template) -> Node:
        layer = canonical(kept, template, self._problems)
        named = node.items.get(env_files.KEY)
        if named is None:
            return layer
        return overlaid(env_files.as_layer(named, self._variables, self._problems), layer)

    def _template(self, node: Node | None) -> Template | None:
        name = node.value if node is not None else DEFAULT_TEMPLATE
        if not isinstance(name, str):
            if node is not None:
                self._problems.add(node, f"expected the name of a template, not {shown(node)}")
            return None
        if name not in self._templates:
            self._templates[name] = None  # a template that extends itself ends here
            self._templates[name] = self._loaded(name, node)
        return self._templates[name]

    def _loaded(self, name: str, node: Node | None) -> Template | None:
        own = self._sections.templates.get(name)
        if own is not None:
            extends = own.items.get("extends")
            base = self._template(extends) if extends else None
            return from_node(name, own, self._problems, base)
        path = str(self._folder / name) if name.startswith(".") else name
        try:
            return self._load(path)
        except ConfigError as error:
            if node is None:
                raise
            self._problems.add(node, error.message)
            return None


def _top(layers: list[Node]) -> dict[str, Node]:
    return {key: node for layer in layers for key, node in layer.items.items()}


def _kept(layer: Node, foreign: frozenset[str]) -> Node:
    """A layer without what makes instances or is in files, and without foreign settings."""
    layer = _without(layer, _META | foreign | {env_files.KEY})
    settings = layer.items.get("settings")
    if settings is None or not foreign & settings.items.keys():
        return layer
    return dataclasses.replace(
        layer, value={**layer.items, "settings": _without(settings, foreign)}
    )


def _without(node: Node, keys: frozenset[str]) -> Node:
    if not keys & node.items.keys():
        return node
    kept: Mapping[str, Node] = {key: one for key, one in node.items.items() if key not in keys}
    return dataclasses.replace(node, value=kept)
