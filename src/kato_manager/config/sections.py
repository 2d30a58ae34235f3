"""The sections of one or several files, collected by name, later files above earlier ones."""

import dataclasses
from collections.abc import Iterator, Mapping

from kato_manager.config.node import Node, shown
from kato_manager.config.problems import Problems

NAMES = ("instances", "shared", "groups", "templates")
_IGNORED = frozenset({"version", "name", "include"})  # the last is for the reader of files


class Sections:
    """`entries`, `groups`: layers by name; `nameless`: entries that forgot their id."""

    def __init__(self, problems: Problems) -> None:
        self.entries: dict[str, list[Node]] = {}
        self.nameless: list[Node] = []
        self.shared: list[Node] = []
        self.groups: dict[str, list[Node]] = {}
        self.members: dict[str, Node] = {}  # instance id -> the name of its group
        self.templates: dict[str, Node] = {}
        self._problems = problems

    def add(self, root: Node) -> None:
        """Put the sections of one file above what is there."""
        if not isinstance(root.value, Mapping):
            message = f"expected sections ({', '.join(NAMES)}), not {shown(root)}"
            self._problems.add(root, message)
            return
        for key, node in root.value.items():
            if key in NAMES:
                getattr(self, f"_add_{key}")(node)
            elif key not in _IGNORED and not key.startswith("x-"):
                self._problems.unknown(node, key, (*NAMES, "include"), "section")

    def _add_instances(self, node: Node) -> None:
        seen: dict[str, Node] = {}
        for entry in self._listed(node):
            name = entry.items.get("id")
            if name is None or not isinstance(name.value, str):
                self.nameless.append(entry)
            elif name.value in seen:
                message = f"{shown(name)} is already an instance at {seen[name.value].place}"
                self._problems.add(name, message)
            else:
                seen[name.value] = name
                self.entries.setdefault(name.value, []).append(entry)

    def _listed(self, node: Node) -> Iterator[Node]:
        """The entries of a list, or of a mapping whose keys are the ids."""
        if isinstance(node.value, Mapping):
            for key, one in node.value.items():
                name = Node(key, one.path, one.key or one.place, one.key)
                if "id" in one.items:
                    self._problems.add_key(one.items["id"], "the key above already is the id")
                elif one.value is None or isinstance(one.value, Mapping):
                    yield dataclasses.replace(one, value={"id": name, **one.items})
                else:
                    self._problems.add(one, f"expected keys and values, not {shown(one)}")
        elif isinstance(node.value, str):
            self._problems.add(node, f"expected a list of instances, not {shown(node)}")
        else:
            for one in node.value or ():
                if isinstance(one.value, Mapping):
                    yield one
                else:
                    self._problems.add(one, f"expected keys and values, not {shown(one)}")

    def _add_shared(self, node: Node) -> None:
        if self._is_mapping(node):
            self.shared.append(node)

    def _add_groups(self, node: Node) -> None:
        for name, one in node.items.items() if self._is_mapping(node) else ():
            if isinstance(one.value, Mapping):
                self.groups.setdefault(name, []).append(one)
            elif one.value is None or isinstance(one.value, str):
                self.groups.setdefault(name, [])
                if one.value is not None:
                    self._problems.add(one, "expected a list of ids, or keys and values")
            else:
                self.groups.setdefault(name, [])
                for each in one.value:
                    if isinstance(each.value, str):
                        self.members[each.value] = dataclasses.replace(each, value=name)
                    else:
                        self._problems.add(each, f"expected an id, not {shown(each)}")

    def _add_templates(self, node: Node) -> None:
        if self._is_mapping(node):
            self.templates |= node.items

    def _is_mapping(self, node: Node) -> bool:
        if node.value is None or isinstance(node.value, Mapping):
            return True
        self._problems.add(node, f"expected keys and values, not {shown(node)}")
        return False
