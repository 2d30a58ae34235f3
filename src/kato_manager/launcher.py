"""Bringing one reserved instance up, and ending one: the long steps of the verbs."""

import socket
import time
from dataclasses import replace

from kato_manager import readiness
from kato_manager.crash_points import crash_point
from kato_manager.engines import Runtimes
from kato_manager.errors import PortTaken, RuntimeUnavailable
from kato_manager.model import Handle, Instance, Status, touched
from kato_manager.registry import Registry
from kato_manager.reservation import Reservations
from kato_manager.runtimes.base import Binds

PORT_ATTEMPTS = 5


class Launcher:
    """Works outside the registry's lock and records each step; hold the instance's own lock."""

    def __init__(self, registry: Registry, runtimes: Runtimes, reservations: Reservations) -> None:
        self._registry = registry
        self._runtimes = runtimes
        self._reservations = reservations

    def launch(
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
            limit_s = instance.spec.ready_timeout_s if timeout_s is None else timeout_s
            instance, handle, begun = self._started(instance, listener, limit_s if wait else 0)
            self._registry.record(touched(instance, handle=handle))
            crash_point(f"{verb}.launched")
            if wait:
                self.wait_until_ready(instance, handle, timeout_s, begun=begun)
            crash_point(f"{verb}.ready")
        except BaseException as error:  # Ctrl-C too: a reservation must not outlive us
            self._undo(instance, handle, recorded, str(error))
            raise
        return self._registry.record(
            touched(instance, status=Status.RUNNING, handle=handle, operation=None)
        )

    def _started(
        self, instance: Instance, listener: socket.socket, limit_s: float
    ) -> tuple[Instance, Handle, float]:
        """Launch it; where its own bind loses the port to a stranger, on the next one.

        The number is when it was launched, by the monotonic clock.
        """
        if instance.spec.launch.services and instance.runtime != "local":
            self._runtimes.services.ensure(instance.spec.launch.services)
        for _ in range(PORT_ATTEMPTS - 1):
            try:
                return instance, *self._bound(instance, listener, limit_s)
            except PortTaken as error:
                if instance.spec.strict_port:
                    raise
                instance, listener = self._reservations.move(instance, error)
        return instance, *self._bound(instance, listener, limit_s)

    def _bound(
        self, instance: Instance, listener: socket.socket, limit_s: float
    ) -> tuple[Handle, float]:
        runtime = self._runtimes[instance.runtime]
        handle = runtime.start(instance, listener)
        begun = time.monotonic()
        if isinstance(runtime, Binds):
            runtime.await_bind(handle, limit_s)
        return handle, begun

    def wait_until_ready(
        self,
        instance: Instance,
        handle: Handle,
        timeout_s: float | None,
        *,
        begun: float | None = None,
    ) -> None:
        runtime = self._runtimes[instance.runtime]
        readiness.wait(
            instance,
            observe=lambda: runtime.inspect(handle),
            last_lines=lambda count: runtime.logs(handle, tail=count, follow=False),
            timeout_s=timeout_s,
            begun=begun,
        )

    def _undo(
        self, instance: Instance, handle: Handle | None, recorded: Instance | None, reason: str
    ) -> None:
        """End what was launched; the entry goes too, unless there was one before."""
        try:
            self.end(touched(instance, handle=handle), grace_s=0)
        except RuntimeUnavailable:
            return  # what is recorded lets a later command finish this
        with self._registry.edit() as instances:
            if recorded is None:
                instances.pop(instance.id, None)
            else:
                failed = touched(recorded, status=Status.FAILED, reason=reason, operation=None)
                instances[instance.id] = replace(failed, handle=handle)

    def end(self, instance: Instance, *, grace_s: float | None = None) -> None:
        """End everything of the instance, also what an interrupted operation left unrecorded."""
        if not instance.runtime:
            return
        runtime = self._runtimes[instance.runtime]
        found = runtime.recover(instance) if instance.operation else None
        for handle in (found and found.observed.handle, instance.handle):
            if handle:
                runtime.stop(handle, grace_s=instance.spec.grace_s if grace_s is None else grace_s)
