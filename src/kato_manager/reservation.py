"""Reservations: the decision about an instance's port and runtime, written down before any work."""

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from kato_manager import names, ports, process
from kato_manager.engines import Runtimes
from kato_manager.errors import InstanceExists, PortTaken
from kato_manager.model import Handle, Instance, InstanceSpec, Operation, Status, Verb, now, touched
from kato_manager.registry import Registry
from kato_manager.registry_file import Instances
from kato_manager.settings import Settings


class Reservations:
    """Makes reservations, each by one edit; afterwards its listener holds the port."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        runtimes: Runtimes,
        on_note: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._runtimes = runtimes
        self._note = on_note

    def make(
        self, spec: InstanceSpec, recorded: Instance | None, origin: str, *, to_launch: bool = True
    ) -> tuple[Instance, socket.socket]:
        """Decide runtime and port, and write down what we are about to do.

        Raises `RuntimeUnavailable` before anything is written when it is to be launched by an
        engine that does not answer.
        """
        runtime = self._runtime_for(spec, recorded)
        if to_launch:
            self._runtimes[runtime].check()
        present = now()
        with self._reserving() as reserved, self._registry.edit() as instances:
            refuse_clash(spec, instances)
            listener = self._choose_port(spec, instances, reserved)
            instance = Instance(
                spec=spec,
                port=listener.getsockname()[1],
                runtime=runtime,
                operation=begin("restart" if recorded else "start"),
                origin=origin,
                created_at=recorded.created_at if recorded else present,
                updated_at=present,
            )
            instances[spec.id] = instance
        return instance, listener

    def make_beside(
        self, old: Instance, spec: InstanceSpec, origin: str
    ) -> tuple[Instance, socket.socket | None]:
        """As `make`, while the entry stays the old one's, which serves on."""
        operation = begin("replace", replaces=old.handle)
        listener = None
        with self._reserving() as reserved, self._registry.edit() as instances:
            refuse_clash(spec, instances)
            if spec.port != old.port:
                listener = self._choose_port(spec, instances, reserved, beside=old.port)
            instances[old.id] = touched(old, operation=operation)
        port = listener.getsockname()[1] if listener else old.port
        return touched(
            old, spec=spec, port=port, operation=operation, origin=origin, status=Status.STARTING
        ), listener

    @contextmanager
    def _reserving(self) -> Iterator[ExitStack]:
        """Closes the listener put into it when the reservation could not be written."""
        with ExitStack() as reserved:
            yield reserved
            reserved.pop_all()

    def _choose_port(
        self,
        spec: InstanceSpec,
        instances: Instances,
        reserved: ExitStack,
        *,
        beside: int | None = None,
    ) -> socket.socket:
        """Reserve a port under the registry's lock, and say so when it is not the wished one."""
        own = instances[spec.id].port if spec.id in instances and beside is None else None
        sticky = instances.ports.get(spec.id) if beside is None else None
        wish = ports.Wish(
            ports=self._settings.ports, explicit=spec.port, sticky=sticky, strict=spec.strict_port
        )
        listener = ports.choose(
            wish,
            taken=(instances.taken_ports | {self._settings.gateway_port}) - {own},
            avoided=set(instances.ports.values()) - {own},
        )
        reserved.push(listener)
        port = listener.getsockname()[1]
        if wish.first and port != wish.first:
            self._note(
                f"port {wish.first} is used by {self._holder(wish.first, instances)}; using {port}"
            )
        return listener

    def _holder(self, port: int, instances: Instances) -> str:
        if port == self._settings.gateway_port:
            return "the gateway"
        owners = [one for one, instance in instances.items() if instance.port == port]
        return f"instance {owners[0]!r}" if owners else ports.holder(port)

    def _runtime_for(self, spec: InstanceSpec, recorded: Instance | None) -> str:
        """The runtime it has, else the chosen one, saying why where nobody asked for it."""
        if recorded and recorded.runtime and spec.runtime in {"auto", recorded.runtime}:
            return recorded.runtime
        choice = self._runtimes.choose(spec, self._settings.runtime)
        if choice.why:
            self._note(f"runtime {choice.name}: {choice.why}")
        return choice.name

    def move(self, instance: Instance, error: PortTaken) -> tuple[Instance, socket.socket]:
        """To the next port, since the engine's own bind lost this one."""
        with self._reserving() as reserved, self._registry.edit() as instances:
            listener = self._choose_port(instance.spec, instances, reserved, beside=instance.port)
            moved = touched(instance, port=listener.getsockname()[1])
            instances[instance.id] = moved
        self._note(f"{error}; using {moved.port}")
        return moved, listener


def begin(verb: Verb, *, replaces: Handle | None = None) -> Operation:
    """An operation of this process, beginning now."""
    return Operation(
        id=uuid.uuid4().hex,
        verb=verb,
        pid=os.getpid(),
        started=process.own_identity(),
        since=now(),
        replaces=replaces,
    )


def refuse_clash(spec: InstanceSpec, instances: Instances) -> None:
    """Ids and groups share the gateway's paths, and no two may differ in case only."""
    if twin := names.same_when_folded(spec.id, instances):
        raise InstanceExists(f"id {spec.id!r} differs from instance {twin!r} only in case")
    groups = {instance.spec.group for instance in instances.values()} - {""}
    if group := names.folded_twin(spec.id, groups):
        raise InstanceExists(f"{spec.id!r} is the name of a group" + _as_written(spec.id, group))
    if spec.group and (owner := names.folded_twin(spec.group, {*instances, spec.id})):
        what = f"group {spec.group!r} has the id of an instance"
        raise InstanceExists(what + _as_written(spec.group, owner))


def _as_written(name: str, twin: str) -> str:
    return "" if name == twin else f", {twin!r}"
