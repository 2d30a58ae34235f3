"""The verbs: start, stop, restart, replace, status, logs.

Each changes one instance under that instance's own lock, which the kernel ends with its holder. An
operation found recorded there is therefore a dead one's, and is settled first. The registry's lock
is held for decisions only.
"""

import os
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from kato_manager import lock, names, ports, process, readiness, recovery
from kato_manager.crash_points import crash_point
from kato_manager.errors import (
    Conflict,
    InstanceExists,
    InstanceNotFound,
    PortTaken,
    RuntimeUnavailable,
)
from kato_manager.model import (
    Handle,
    Instance,
    InstanceSpec,
    Operation,
    Status,
    differences,
)
from kato_manager.registry import Instances, Registry, touched
from kato_manager.runtimes import Runtimes
from kato_manager.runtimes.base import Observed
from kato_manager.settings import Settings

PORT_ATTEMPTS = 5
Note = Callable[[str], None]
Verb = Literal["start", "stop", "restart", "replace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One instance as recorded and as observed; `observed` is None where the engine was silent."""

    instance: Instance
    observed: Observed | None

    @property
    def word(self) -> str:
        """One of: starting, running, exited, missing, unreachable, stopping, stopped, failed."""
        if self.observed is None:
            return "unreachable"
        if self.observed.state == "running":
            return str(self.instance.status) if self.instance.is_live else "running"
        resting = {Status.STOPPED, Status.FAILED}
        return str(self.instance.status if self.instance.status in resting else self.observed.state)


class Manager:
    """Changes instances, safely beside any number of other managers in other processes.

    `on_note` is told what a user should know but did not ask: a port moved, a lock waited for.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        runtimes: Runtimes,
        *,
        on_note: Note = lambda _note: None,
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.runtimes = runtimes
        self._note = on_note

    @classmethod
    def of(
        cls,
        settings: Settings,
        environ: Mapping[str, str] = os.environ,
        *,
        on_note: Note = lambda _note: None,
    ) -> "Manager":
        """The manager of one `KATO_HOME`, with the runtimes of this machine."""
        registry = Registry(
            settings.home,
            lock_timeout_s=settings.lock_timeout_s,
            survivors=lambda registry_id: recovery.survivors(runtimes, registry_id),
            on_note=on_note,
        )
        runtimes = Runtimes(settings.home, environ, registry_id=registry.ensure_id)
        return cls(settings, registry, runtimes, on_note=on_note)

    def start(
        self,
        spec: InstanceSpec,
        *,
        wait: bool = True,
        timeout_s: float | None = None,
        origin: str = "",
        fresh: bool = False,
    ) -> Instance:
        """Start the instance, or return it when it runs with the same settings already.

        Waits until it is ready, unless told not to. A failure leaves nothing behind: no process,
        port or entry. Raises `Conflict` when it runs with other settings, `InstanceExists` when it
        should be `fresh` and is not, `PortTaken`, `StartFailed`, `NotReady`, `RuntimeUnavailable`.
        """
        with self._exclusively(spec.id, spec.ready_timeout_s):
            recorded = self._settled(spec.id)
            if recorded and fresh:
                raise InstanceExists(f"instance {spec.id!r} exists", hint=f"kato status {spec.id}")
            if recorded and self._is_running(recorded):
                return self._as_wished(recorded, spec)
            if recorded:
                self._end(recorded)
            instance, listener = self._reserve(spec, recorded, origin)
            crash_point("start.reserved")
            return self._launch(instance, listener, recorded, wait=wait, timeout_s=timeout_s)

    def declare(self, spec: InstanceSpec, *, origin: str = "") -> Instance:
        """Record an instance with a port of its own, to be started by its first request."""
        with self._exclusively(spec.id, 0):
            recorded = self._settled(spec.id)
            if recorded and self._is_running(recorded):
                return self._as_wished(recorded, spec)
            instance, listener = self._reserve(spec, recorded, origin)
            listener.close()
            reason = "starts on demand"
            return self._record(
                touched(instance, status=Status.STOPPED, operation=None, reason=reason)
            )

    def stop(
        self,
        instance_id: str,
        *,
        grace_s: float | None = None,
        purge: bool = False,
        keep: str = "",
    ) -> Instance:
        """Stop it, remove its entry and free its port; data stays unless purged.

        With `keep`, a reason, the entry stays as stopped and its port reserved. Returns what was
        recorded. Raises `InstanceNotFound`; what is already gone is success.
        """
        with self._exclusively(instance_id, 0):
            with self.registry.edit() as instances:
                before = _known(instances, instance_id)
                instances[instance_id] = touched(
                    before, status=Status.STOPPING, operation=_stopping(before)
                )
            crash_point("stop.marked")
            try:
                self._end(before, grace_s=grace_s)
            except BaseException:
                self._record(before)
                raise
            crash_point("stop.ended")
            if purge and before.runtime:
                self.runtimes[before.runtime].purge(before)
            with self.registry.edit() as instances:
                if keep:
                    instances[instance_id] = _at_rest(before, Status.STOPPED, keep)
                else:
                    instances.pop(instance_id, None)
            return before

    def restart(
        self,
        instance_id: str,
        *,
        spec: InstanceSpec | None = None,
        wait: bool = True,
        timeout_s: float | None = None,
    ) -> Instance:
        """Stop and start it with the recorded settings, or with those of `spec`, on its port.

        When it does not come up again its entry stays, failed and with the reason.
        """
        with self._exclusively(instance_id, 0):
            recorded = self._settled(instance_id)
            if recorded is None:
                raise _unknown(instance_id, self.registry.read())
            self._record(touched(recorded, operation=_operation("restart")))
            crash_point("restart.marked")
            self._end(recorded)
            crash_point("restart.ended")
            instance, listener = self._reserve(spec or recorded.spec, recorded, recorded.origin)
            crash_point("restart.reserved")
            return self._launch(instance, listener, recorded, wait=wait, timeout_s=timeout_s)

    def replace(
        self,
        instance_id: str,
        spec: InstanceSpec,
        *,
        origin: str = "",
        timeout_s: float | None = None,
    ) -> Instance:
        """Put an instance with the settings of `spec` in the place of a running one.

        The old one serves until the new one is ready, on another port unless one was asked for; a
        fixed port is handed over with a short gap. When anything fails the old one serves again.
        """
        with self._exclusively(instance_id, spec.ready_timeout_s):
            old = self._settled(instance_id)
            if old is None or old.handle is None or not self._is_running(old):
                raise InstanceNotFound(f"instance {instance_id!r} does not run")
            new, listener = self._reserve_beside(old, spec, origin)
            crash_point("replace.marked")

            def ready(handle: Handle) -> None:
                crash_point("replace.launched")
                self._wait_until_ready(new, handle, timeout_s)
                # From here on the gateway sends requests to the new one.
                self._record(touched(new, status=Status.RUNNING, handle=handle))
                crash_point("replace.recorded")

            try:
                handle = self.runtimes[old.runtime].replace(old.handle, new, listener, ready)
            except BaseException:
                self._record(touched(old, operation=None))
                raise
            crash_point("replace.ended")
            return self._record(touched(new, status=Status.RUNNING, handle=handle, operation=None))

    def status(self, instances: Iterable[Instance] | None = None) -> list[Seen]:
        """Every instance with what its engine says; one request per engine, none per instance."""
        chosen = list(self.registry.read().values() if instances is None else instances)
        engines = {one.runtime for one in chosen} - {"local", ""}
        listed = {name: self._listed(name) for name in engines}
        return [Seen(instance=one, observed=self._observed(one, listed)) for one in chosen]

    def survivors(self, registry_id: str | None) -> Iterator[Instance]:
        """What runs although no registry remembers it."""
        return recovery.survivors(self.runtimes, registry_id)

    def logs(self, instance_id: str, *, tail: int | None, follow: bool) -> Iterator[str]:
        """What an instance printed, this run's and earlier ones' as far as they are kept."""
        instance = _known(self.registry.read(), instance_id)
        if instance.handle is None:
            return iter(())
        return self.runtimes[instance.runtime].logs(instance.handle, tail=tail, follow=follow)

    def settle_all(self) -> None:
        """Settle the operations whose owners have died; those of living commands are left alone."""
        for instance_id, instance in self.registry.read().items():
            if instance.operation and lock.is_free(self._lock_path(instance_id)):
                with self._exclusively(instance_id, 0), suppress(RuntimeUnavailable):
                    self._settled(instance_id)

    @contextmanager
    def _exclusively(self, instance_id: str, longest_s: float) -> Iterator[None]:
        """Hold the instance's own lock, waiting for another command's slow work if need be."""
        names.check_id(instance_id)
        path = self._lock_path(instance_id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        timeout_s = self.settings.lock_timeout_s + longest_s
        what = f"instance {instance_id!r}"
        with lock.held(path, what=what, timeout_s=timeout_s, on_wait=self._note):
            yield

    def _lock_path(self, instance_id: str) -> Path:
        return self.settings.home / "locks" / f"{names.container_name(instance_id)}.lock"

    def _settled(self, instance_id: str) -> Instance | None:
        """What is recorded, after a dead command's operation on it was settled."""
        instance = self.registry.read().get(instance_id)
        return instance and recovery.settle(self.registry, self.runtimes, instance)

    def _is_running(self, instance: Instance) -> bool:
        if instance.handle is None:
            return False
        return self.runtimes[instance.runtime].inspect(instance.handle).state == "running"

    def _as_wished(self, running: Instance, spec: InstanceSpec) -> Instance:
        changed = differences(running.spec, spec)
        if blocking := [str(one) for one in changed if one.needs_restart]:
            raise Conflict(
                f"instance {running.id!r} runs with other settings: {', '.join(blocking)}",
                hint=f"kato restart {running.id} with the same options changes them",
            )
        wanted = {one.name.partition(".")[0] for one in changed}
        values = {name: getattr(spec, name) for name in wanted}
        return self._record(touched(running, spec=replace(running.spec, **values)))

    def _reserve(
        self, spec: InstanceSpec, recorded: Instance | None, origin: str
    ) -> tuple[Instance, socket.socket]:
        """Decide runtime and port, and write down what we are about to do."""
        runtime = self._runtime_for(spec, recorded)
        now = datetime.now(UTC)
        with self._reserving() as reserved, self.registry.edit() as instances:
            _refuse_clash(spec, instances)
            listener = self._choose_port(spec, instances, reserved)
            instance = Instance(
                spec=spec,
                port=listener.getsockname()[1],
                runtime=runtime,
                operation=_operation("restart" if recorded else "start"),
                origin=origin,
                created_at=recorded.created_at if recorded else now,
                updated_at=now,
            )
            instances[spec.id] = instance
        return instance, listener

    def _reserve_beside(
        self, old: Instance, spec: InstanceSpec, origin: str
    ) -> tuple[Instance, socket.socket | None]:
        """As `_reserve`, while the entry stays the old one's, which serves on."""
        operation = _operation("replace", replaces=old.handle)
        listener = None
        with self._reserving() as reserved, self.registry.edit() as instances:
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
            ports=self.settings.ports, explicit=spec.port, sticky=sticky, strict=spec.strict_port
        )
        listener = ports.choose(
            wish,
            taken=(instances.taken_ports | {self.settings.gateway_port}) - {own},
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
        if port == self.settings.gateway_port:
            return "the gateway"
        owners = [one for one, instance in instances.items() if instance.port == port]
        return f"instance {owners[0]!r}" if owners else ports.holder(port)

    def _runtime_for(self, spec: InstanceSpec, recorded: Instance | None) -> str:
        """The runtime it has, else the chosen one, saying why where nobody asked for it."""
        if recorded and recorded.runtime and spec.runtime in {"auto", recorded.runtime}:
            return recorded.runtime
        choice = self.runtimes.choose(spec, self.settings.runtime)
        if choice.why:
            self._note(f"runtime {choice.name}: {choice.why}")
        return choice.name

    def _launch(
        self,
        instance: Instance,
        listener: socket.socket,
        recorded: Instance | None,
        *,
        wait: bool,
        timeout_s: float | None,
    ) -> Instance:
        """From reserved to recorded as running; undone when it fails on the way."""
        verb = "restart" if recorded else "start"
        handle = None
        try:
            instance, handle = self._started(instance, listener)
            self._record(touched(instance, handle=handle))
            crash_point(f"{verb}.launched")
            if wait:
                self._wait_until_ready(instance, handle, timeout_s)
            crash_point(f"{verb}.ready")
        except BaseException as error:  # Ctrl-C too: a reservation must not outlive us
            self._undo(instance, handle, recorded, str(error))
            raise
        return self._record(touched(instance, status=Status.RUNNING, handle=handle, operation=None))

    def _started(self, instance: Instance, listener: socket.socket) -> tuple[Instance, Handle]:
        """Launch it; where the engine's own bind loses the port to a stranger, on the next one."""
        runtime = self.runtimes[instance.runtime]
        for _ in range(PORT_ATTEMPTS - 1):
            try:
                return instance, runtime.start(instance, listener)
            except PortTaken as error:
                if instance.spec.strict_port:
                    raise
                instance, listener = self._moved(instance, error)
        return instance, runtime.start(instance, listener)

    def _moved(self, instance: Instance, error: PortTaken) -> tuple[Instance, socket.socket]:
        with self._reserving() as reserved, self.registry.edit() as instances:
            listener = self._choose_port(instance.spec, instances, reserved, beside=instance.port)
            moved = touched(instance, port=listener.getsockname()[1])
            instances[instance.id] = moved
        self._note(f"{error}; using {moved.port}")
        return moved, listener

    def _wait_until_ready(
        self, instance: Instance, handle: Handle, timeout_s: float | None
    ) -> None:
        runtime = self.runtimes[instance.runtime]
        readiness.wait(
            instance,
            observe=lambda: runtime.inspect(handle),
            last_lines=lambda count: runtime.logs(handle, tail=count, follow=False),
            timeout_s=timeout_s,
        )

    def _undo(
        self, instance: Instance, handle: Handle | None, recorded: Instance | None, reason: str
    ) -> None:
        """End what was launched; the entry goes too, unless there was one before."""
        try:
            self._end(touched(instance, handle=handle), grace_s=0)
        except RuntimeUnavailable:
            return  # what is recorded lets a later command finish this
        with self.registry.edit() as instances:
            if recorded is None:
                instances.pop(instance.id, None)
            else:
                instances[instance.id] = _at_rest(recorded, Status.FAILED, reason)

    def _end(self, instance: Instance, *, grace_s: float | None = None) -> None:
        """End everything of the instance, also what an interrupted operation left unrecorded."""
        if not instance.runtime:
            return
        runtime = self.runtimes[instance.runtime]
        found = runtime.recover(instance) if instance.operation else None
        for handle in (found and found.observed.handle, instance.handle):
            if handle:
                runtime.stop(handle, grace_s=instance.spec.grace_s if grace_s is None else grace_s)

    def _record(self, instance: Instance) -> Instance:
        with self.registry.edit() as instances:
            instances[instance.id] = instance
        return instance

    def _listed(self, name: str) -> list[Observed] | None:
        """All that an engine holds, in one request; None when it does not answer."""
        try:
            return [found.observed for found in self.runtimes[name].find()]
        except RuntimeUnavailable:
            return None

    def _observed(
        self, instance: Instance, listed: Mapping[str, list[Observed] | None]
    ) -> Observed | None:
        if instance.handle is None:
            return Observed(state="missing")
        if instance.runtime == "local":
            return self.runtimes["local"].inspect(instance.handle)
        observed = listed[instance.runtime]
        if observed is None:
            return None
        mine = (one for one in observed if one.handle == instance.handle)
        return next(mine, Observed(state="missing"))


def _operation(verb: Verb, *, replaces: Handle | None = None) -> Operation:
    return Operation(
        id=uuid.uuid4().hex,
        verb=verb,
        pid=os.getpid(),
        started=process.own_identity(),
        since=datetime.now(UTC),
        replaces=replaces,
    )


def _stopping(instance: Instance) -> Operation:
    """A stop; of an unfinished operation it keeps the id, which finds what that one launched."""
    stop = _operation("stop")
    return replace(instance.operation, verb="stop") if instance.operation else stop


def _at_rest(instance: Instance, status: Status, reason: str) -> Instance:
    return touched(instance, status=status, reason=reason, operation=None, handle=None)


def _known(instances: Instances, instance_id: str) -> Instance:
    if instance_id not in instances:
        raise _unknown(instance_id, instances)
    return instances[instance_id]


def _unknown(instance_id: str, instances: Iterable[str]) -> InstanceNotFound:
    meant = names.closest(instance_id, instances)
    hint = f"did you mean {meant!r}?" if meant else "kato list shows them all"
    return InstanceNotFound(f"there is no instance {instance_id!r}", hint=hint)


def _refuse_clash(spec: InstanceSpec, instances: Instances) -> None:
    """Ids that differ in case only would share names; ids and groups share the gateway's paths."""
    if twin := names.same_when_folded(spec.id, instances):
        raise InstanceExists(f"id {spec.id!r} differs from instance {twin!r} only in case")
    groups = {instance.spec.group for instance in instances.values()} - {""}
    if spec.id in groups:
        raise InstanceExists(f"{spec.id!r} is the name of a group")
    if spec.group in instances or spec.group == spec.id:
        raise InstanceExists(f"group {spec.group!r} has the id of an instance")
