"""What would change, and why: wanted against recorded and observed. Pure; prints itself.

start    fast           not recorded
replace  pattern        recall_threshold 0.1 -> 0.3
keep     sentiment      unchanged
stop     old-one        not in multi.yaml (--prune)
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from graphlib import TopologicalSorter

from kato_manager.errors import ConfigError
from kato_manager.model import (
    Difference,
    Instance,
    InstanceSpec,
    Json,
    described,
    differences,
    spec_from_json,
    to_json,
)

VERSION = 1
DOWN_WORDS = frozenset({"exited", "missing", "stopped", "stopping", "failed"})
_WIDTH = 13


class Action(StrEnum):
    START = "start"
    REPLACE = "replace"  # stops what runs, for another in its place
    UPDATE = "update"  # recorded anew, nothing is restarted
    KEEP = "keep"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One instance: what is done with it and why. `spec` is None for a stop."""

    action: Action
    id: str
    cause: str
    spec: InstanceSpec | None = None
    needs: tuple[str, ...] = ()  # ids whose steps come first
    changes: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps in the order they are done, stops last. `world` is what they were decided from."""

    steps: tuple[Step, ...]
    world: str
    origin: str = ""
    leftover: tuple[str, ...] = ()  # made by this file and no longer named, without --prune

    @property
    def changes(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.action is not Action.KEEP)

    @property
    def stopping(self) -> tuple[str, ...]:
        """The ids of what runs now and would be stopped, for good or to be replaced."""
        stops = {Action.STOP, Action.REPLACE}
        return tuple(step.id for step in self.steps if step.action in stops)

    def __str__(self) -> str:
        width = max([_WIDTH, *(len(step.id) for step in self.steps)])
        return "\n".join(f"{s.action:<7}  {s.id:<{width}}  {s.cause}" for s in self.steps)


def diff(
    wanted: Sequence[InstanceSpec],
    recorded: Mapping[str, Instance],
    words: Mapping[str, str],
    *,
    file: str,
    origin: str,
    named: Collection[str] = (),
    prune: bool = False,
) -> Plan:
    """The plan that makes `wanted` so; `words` is what was observed of each recorded instance.

    Only what `origin` made and no longer names (`named`, inactive profiles included) is pruned.
    """
    wanted_ids = {spec.id for spec in wanted}
    ids = wanted_ids | set(named)
    made = tuple(one for one, i in recorded.items() if origin and i.origin == origin)
    leftover = tuple(one for one in made if one not in ids)
    cause = f"not in {file} (--prune)"
    stops = [_stop(recorded[one], cause, leftover) for one in leftover if prune]
    steps = [_step(spec, recorded.get(spec.id), words.get(spec.id, "missing")) for spec in wanted]
    return Plan(
        steps=(*_ordered(steps), *_ordered(stops)),
        world=world(recorded, words, {*wanted_ids, *leftover}),
        origin=origin,
        leftover=() if prune else leftover,
    )


def down(
    named: Collection[str],
    recorded: Mapping[str, Instance],
    words: Mapping[str, str],
    *,
    file: str,
    origin: str,
) -> Plan:
    """The reverse: stops what the file names and what it made, dependants first."""
    ids = [o for o, i in recorded.items() if o in named or (origin and i.origin == origin)]
    steps = [_stop(recorded[one], f"in {file}", ids) for one in ids]
    return Plan(steps=_ordered(steps), world=world(recorded, words, ids), origin=origin)


def _step(spec: InstanceSpec, recorded: Instance | None, word: str) -> Step:
    action, cause, changes = _decision(spec, recorded, word)
    return Step(
        action=action, id=spec.id, cause=cause, spec=spec, needs=spec.depends_on, changes=changes
    )


def _decision(
    spec: InstanceSpec, recorded: Instance | None, word: str
) -> tuple[Action, str, tuple[Difference, ...]]:
    if recorded is None:
        return Action.START, "not recorded", ()
    changes = differences(recorded.spec, spec)
    if word in DOWN_WORDS and spec.start == "eager":
        return Action.START, word, changes
    if any(one.needs_restart for one in changes):
        is_down = word in DOWN_WORDS
        return (
            Action.UPDATE if is_down else Action.REPLACE,
            described(changes, spec.template),
            changes,
        )
    if changes:
        return Action.UPDATE, described(changes, spec.template), changes
    return (
        Action.KEEP,
        "unchanged, its engine is silent" if word == "unreachable" else "unchanged",
        (),
    )


def _stop(instance: Instance, cause: str, among: Collection[str]) -> Step:
    """Stops wait for the stops of those that depend on them: `needs` is turned round later."""
    needs = tuple(one for one in instance.spec.depends_on if one in among)
    return Step(action=Action.STOP, id=instance.id, cause=cause, needs=needs)


def _ordered(steps: Sequence[Step]) -> tuple[Step, ...]:
    """What is needed first, otherwise in the order given; stops the other way round."""
    by_id = {step.id: step for step in steps}
    graph: TopologicalSorter[str] = TopologicalSorter()
    for step in steps:
        graph.add(step.id)
        for other in step.needs:
            if other not in by_id:
                continue
            if step.action is Action.STOP:
                graph.add(other, step.id)
            else:
                graph.add(step.id, other)
    return tuple(by_id[one] for one in graph.static_order())


def world(recorded: Mapping[str, Instance], words: Mapping[str, str], ids: Iterable[str]) -> str:
    """A token of everything the steps for `ids` were decided from."""
    facts = [
        [one, to_json(recorded[one].spec), recorded[one].origin, words.get(one, "")]
        for one in sorted(ids)
        if one in recorded
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def to_document(plan: Plan) -> dict[str, Json]:
    """A plan as JSON data: what `--format json` prints and `-o` saves."""
    return {
        "version": VERSION,
        "origin": plan.origin,
        "world": plan.world,
        "changes": len(plan.changes),
        "steps": [_to_json(step) for step in plan.steps],
        "leftover": list(plan.leftover),
    }


def _to_json(step: Step) -> dict[str, Json]:
    shown = [to_json(one) for one in step.changes]
    rest = {"needs": list(step.needs), "spec": step.spec and to_json(step.spec)}
    return {"action": step.action, "id": step.id, "cause": step.cause, "changes": shown, **rest}


def from_document(data: Json, name: str) -> Plan:
    """The inverse of `to_document`; raises `ConfigError` for anything else."""
    try:
        if data["version"] != VERSION:
            raise ConfigError(f"{name}: a plan of version {data['version']}, not {VERSION}")
        steps = tuple(_from_json(one) for one in data["steps"])
        _ordered(steps)  # a circle is a ValueError
        return Plan(
            steps=steps,
            world=data["world"],
            origin=data["origin"],
            leftover=tuple(data["leftover"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{name}: is no plan", hint="kato plan -f FILE -o plan.json") from error


def _from_json(data: Mapping[str, Json]) -> Step:
    return Step(
        id=data["id"],
        cause=data["cause"],
        action=Action(data["action"]),
        needs=tuple(data["needs"]),
        spec=spec_from_json(data["spec"]) if data["spec"] else None,
        changes=tuple(Difference(**one) for one in data["changes"]),
    )


def concerned(plan: Plan) -> frozenset[str]:
    """Every instance the plan was decided from."""
    return frozenset(step.id for step in plan.steps) | frozenset(plan.leftover)
