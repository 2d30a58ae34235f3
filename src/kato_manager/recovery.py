"""Putting right what died in between: unfinished operations, and a registry that was lost."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from kato_manager.engines import Runtimes
from kato_manager.errors import RuntimeUnavailable
from kato_manager.model import Instance, Status, touched
from kato_manager.registry import Registry


def settle(registry: Registry, runtimes: Runtimes, instance: Instance) -> Instance | None:
    """Finish or undo the operation of an instance whose owner has died; what is recorded then.

    A start is undone and a stop is finished: None, unless its entry was to be kept. A restart or
    replacement ends with what serves, or with a failed instance that says why. Hold the
    instance's lock.
    """
    operation = instance.operation
    if operation is None:
        return instance
    runtime = runtimes[instance.runtime]
    found = runtime.recover(instance)
    if operation.verb in {"start", "stop"}:
        handles = [found.observed.handle if found else None, instance.handle]
        for handle in filter(None, handles):
            runtime.stop(handle, grace_s=instance.spec.grace_s)
        return _record(registry, instance, at_rest(instance, operation.keep))
    if found and found.observed.state == "running":
        return _record(
            registry, instance, _serving(instance, found.instance, found.observed.handle)
        )
    reason = f"its {operation.verb} was interrupted; bring it back: kato start --id {instance.id}"
    failed = touched(instance, status=Status.FAILED, operation=None, reason=reason)
    return _record(registry, instance, failed)


def give_up(registry: Registry, instance: Instance, reason: str) -> None:
    """Record as failed what is not brought back, unless somebody has changed it meanwhile.

    The handle stays: it finds the log.
    """
    with registry.edit() as instances:
        current = instances.get(instance.id)
        if current and current.operation is None and current.handle == instance.handle:
            instances[instance.id] = touched(current, status=Status.FAILED, reason=reason)


def at_rest(instance: Instance, keep: str) -> Instance | None:
    """What stays recorded of an instance that was stopped: nothing, unless there is a reason."""
    if not keep:
        return None
    stopped = touched(instance, status=Status.STOPPED, reason=keep)
    return replace(stopped, operation=None, handle=None)


def survivors(runtimes: Runtimes, registry_id: str | None) -> Iterator[Instance]:
    """What runs although no registry remembers it, as it would be recorded."""
    for name in runtimes.present:
        with suppress(RuntimeUnavailable):
            for found in runtimes[name].find():
                ours = found.registry_id in {"", registry_id}
                if ours and found.observed.state == "running":
                    yield _serving(found.instance, found.instance, found.observed.handle)


def _serving(recorded: Instance, started: Instance, handle: object) -> Instance:
    return touched(
        recorded,
        spec=started.spec,
        port=started.port,
        runtime=recorded.runtime or started.runtime,
        status=Status.RUNNING,
        handle=handle,
        operation=None,
        reason="",
    )


def _record(registry: Registry, before: Instance, after: Instance | None) -> Instance | None:
    """Record the outcome, unless somebody else has settled the same operation meanwhile."""
    with registry.edit() as instances:
        current = instances.get(before.id)
        if current is None or current.operation != before.operation:
            return current
        if after is None:
            del instances[before.id]
        else:
            instances[before.id] = after
    return after
