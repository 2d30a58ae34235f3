"""What only shows when all instances are looked at together: ids, ports, dependencies."""

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter

from kato_manager.config.node import Node
from kato_manager.config.problems import Problems
from kato_manager.config.resolve import Resolved


def check_together(
    found: Sequence[Resolved], profiles: Collection[str], problems: Problems
) -> list[Resolved]:
    """The instances of the active profiles, their `depends_on` naming instances one by one."""
    active = [one for one in found if not one.profiles or set(one.profiles) & set(profiles)]
    _check_ids(active, problems)
    _check_ports(active, problems)
    _check_groups(active, problems)
    linked = [_linked(one, active, found, problems) for one in active]
    _check_cycles(linked, problems)
    return linked


def _check_ids(active: Sequence[Resolved], problems: Problems) -> None:
    seen: dict[str, Resolved] = {}
    for one in active:
        other = seen.setdefault(one.spec.id.casefold(), one)
        if other is not one and one.spec.id:
            differs = "" if one.spec.id == other.spec.id else ", which differs only in case"
            place = _node(other, "id").place
            problems.add(
                _node(one, "id"), f'"{one.spec.id}" is also {other.spec.id} at {place}{differs}'
            )


def _check_ports(active: Sequence[Resolved], problems: Problems) -> None:
    seen: dict[int, Resolved] = {}
    for one in active:
        if one.spec.port is None:
            continue
        other = seen.setdefault(one.spec.port, one)
        if other is not one:
            problems.add(
                _node(one, "port"),
                f"{one.spec.port} is also the port of {other.spec.id}"
                f" at {_node(other, 'port').place}",
            )


def _check_groups(active: Sequence[Resolved], problems: Problems) -> None:
    """Ids and groups share the paths of the gateway."""
    ids = {one.spec.id.casefold(): one for one in active}
    for one in active:
        if one.spec.group and (other := ids.get(one.spec.group.casefold())):
            place = _node(other, "id").place
            message = f'"{one.spec.group}" is the id of an instance at {place}'
            problems.add(_node(one, "group"), message)


def _linked(
    one: Resolved, active: Sequence[Resolved], found: Sequence[Resolved], problems: Problems
) -> Resolved:
    """Dependencies on an entry with replicas or a matrix mean each instance of it."""
    if not one.spec.depends_on:
        return one
    ids = tuple(dict.fromkeys(_needed(one, active, found, problems)))
    return dataclasses.replace(one, spec=dataclasses.replace(one.spec, depends_on=ids))


def _needed(
    one: Resolved, active: Sequence[Resolved], found: Sequence[Resolved], problems: Problems
) -> Iterator[str]:
    for name in one.spec.depends_on:
        node = _said(_node(one, "depends_on"), name)
        ids = [other.spec.id for other in active if name in {other.spec.id, other.entry_id}]
        if ids:
            yield from ids
            continue
        inactive = next((o for o in found if name in {o.spec.id, o.entry_id}), None)
        if inactive:
            profile = inactive.profiles[0]
            problems.add(node, f'"{name}" is only there with --profile {profile}')
        else:
            problems.unknown(node, name, [o.spec.id for o in found], f'instance "{name}"')


def _check_cycles(linked: Sequence[Resolved], problems: Problems) -> None:
    by_id = {one.spec.id: one for one in linked}
    try:
        TopologicalSorter({name: one.spec.depends_on for name, one in by_id.items()}).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))  # graphlib lists the needed one first
        message = f"they wait for each other: {' -> '.join(circle)}"
        problems.add(_node(by_id[circle[0]], "depends_on"), message)


def _said(node: Node, name: str) -> Node:
    """Where in a list of names this one stands."""
    elements = node.value if isinstance(node.value, list) else ()
    return next((one for one in elements if one.value == name), dataclasses.replace(node, key=None))


def _node(one: Resolved, key: str) -> Node:
    return one.entry.items.get(key, one.entry)
