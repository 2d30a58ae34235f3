"""What is wrong between the registry and the world, and how each of it is mended."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from kato_manager.errors import InstanceNotFound, KatoError, RuntimeUnavailable
from kato_manager.manager import Manager
from kato_manager.model import Instance, Status, touched
from kato_manager.runtimes.base import Found

ORPHAN_GRACE = timedelta(seconds=30)  # a start somewhere may be about to record it

Trouble = Literal[
    "registry", "unfinished", "gone", "failed", "orphan", "remains", "young", "unreachable"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong; `command` mends it, and so does `mend`."""

    trouble: Trouble
    instance_id: str
    text: str
    command: str = ""
    found: Found | None = None
    runtime: str = ""


def diagnose(manager: Manager, *, now: datetime | None = None) -> list[Finding]:
    """Everything that is wrong; changes nothing. One request per engine."""
    return [*_file(manager), *_entries(manager), *_strays(manager, now or datetime.now(UTC))]


def mend(manager: Manager, finding: Finding) -> str:
    """Put one thing right; says what was done. Raises `KatoError` when it can not be."""
    match finding.trouble:
        case "registry":
            manager.registry.ensure_id()  # any write repairs it
            return "written again"
        case "unfinished":
            manager.settle(finding.instance_id)
            return "settled"
        case "gone" | "failed":
            return _bring_back(manager, finding.instance_id)
        case "orphan":
            adopt(manager, finding)
            return "adopted"
        case "remains":
            remove(manager, finding)
            return "removed"
        case "young" | "unreachable":
            return "left alone"


def mend_all(manager: Manager, on_step: Callable[[Finding, str], None]) -> list[Finding]:
    """Mend whatever can be; `on_step` is told each outcome. Returns what is still wrong.

    Settling an operation may show the next trouble, so it looks again until nothing new turns up.
    """
    tried: set[tuple[Trouble, str]] = set()
    while fresh := [
        one for one in diagnose(manager) if (one.trouble, one.instance_id) not in tried
    ]:
        for one in fresh:
            tried.add((one.trouble, one.instance_id))
            on_step(one, _attempt(manager, one))
    return diagnose(manager)


def _attempt(manager: Manager, finding: Finding) -> str:
    try:
        return mend(manager, finding)
    except KatoError as problem:
        return f"not mended: {problem}"


def adopt(manager: Manager, finding: Finding) -> Instance:
    """Record what runs although the registry did not know it."""
    found = finding.found
    if found is None or found.observed.state != "running":
        raise InstanceNotFound(f"nothing of {finding.instance_id!r} runs that could be adopted")
    with manager.registry.edit() as instances:
        if finding.instance_id in instances:
            return instances[finding.instance_id]
        adopted = touched(
            found.instance,
            status=Status.RUNNING,
            runtime=finding.runtime,
            handle=found.observed.handle,
            operation=None,
        )
        instances[finding.instance_id] = adopted
    return adopted


def remove(manager: Manager, finding: Finding) -> None:
    """End and remove what nobody recorded; its data stays."""
    if finding.found and finding.found.observed.handle:
        grace_s = finding.found.instance.spec.grace_s
        manager.runtimes[finding.runtime].stop(finding.found.observed.handle, grace_s=grace_s)


def _bring_back(manager: Manager, instance_id: str) -> str:
    recorded = manager.registry.read().get(instance_id)
    if recorded is None:
        return "gone meanwhile"
    manager.start(recorded.spec, origin=recorded.origin)
    return "running again"


def _file(manager: Manager) -> Iterator[Finding]:
    for note in manager.registry.read().notes:
        yield Finding(trouble="registry", instance_id="", text=note, command="kato doctor --fix")


def _entries(manager: Manager) -> Iterator[Finding]:
    """What is recorded but not so."""
    for seen in manager.status():
        one = seen.instance
        start = f"kato start --id {one.id}"
        if one.operation:
            if manager.is_free(one.id):
                text = f"its {one.operation.verb} by pid {one.operation.pid} was never finished"
                yield Finding(
                    trouble="unfinished", instance_id=one.id, text=text, command="kato doctor --fix"
                )
        elif seen.observed is None:
            text = f"the {one.runtime} engine does not answer; nothing is known, nothing changed"
            yield Finding(trouble="unreachable", instance_id=one.id, text=text)
        elif one.status is Status.RUNNING and seen.observed.state != "running":
            text = f"was running, now its {_thing(one)} is {seen.observed.state}"
            yield Finding(trouble="gone", instance_id=one.id, text=text, command=start)
        elif one.status is Status.FAILED:
            yield Finding(trouble="failed", instance_id=one.id, text=one.reason, command=start)


def _strays(manager: Manager, now: datetime) -> Iterator[Finding]:
    """What is there but not recorded."""
    instances = manager.registry.read()
    for name in manager.runtimes.present:
        try:
            held = manager.runtimes[name].find()
        except RuntimeUnavailable as problem:
            yield Finding(trouble="unreachable", instance_id="", text=str(problem), runtime=name)
            continue
        for found in held:
            recorded = instances.get(found.instance.id)
            ours = found.registry_id in {"", instances.registry_id}
            if ours and not _is_recorded(found, recorded):
                yield from _stray(found, name, now, taken=recorded is not None)


def _stray(found: Found, runtime: str, now: datetime, *, taken: bool) -> Iterator[Finding]:
    running = found.observed.state == "running"
    one, thing = found.instance.id, f"{runtime} instance {found.instance.spec.container}"
    if runtime == "local" and not running:
        return  # a folder with data, which stopping keeps on purpose
    trouble: Trouble = "orphan" if running and not taken else "remains"
    command = f"kato adopt {one}, or kato prune" if trouble == "orphan" else "kato prune"
    text = f"{thing} is {found.observed.state} but not recorded"
    if now - found.created_at < ORPHAN_GRACE:
        trouble, text, command = "young", f"{text}; it is young, somebody may be starting it", ""
    yield Finding(
        trouble=trouble, instance_id=one, text=text, command=command, found=found, runtime=runtime
    )


def _is_recorded(found: Found, recorded: Instance | None) -> bool:
    if recorded is None:
        return False
    busy = recorded.operation is not None  # its own settling will look at this
    return busy or found.observed.handle == recorded.handle


def _thing(instance: Instance) -> str:
    return "process" if instance.runtime == "local" else f"container {instance.spec.container}"
