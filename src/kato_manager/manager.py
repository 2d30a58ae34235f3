"""The verbs: start, stop, restart, replace, status, logs.

Each changes one instance under that instance's own lock, which the kernel ends with its holder. An
operation found recorded there is therefore a dead one's, and is settled first. The registry's lock
is held for decisions only.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from kato_manager import lock, names, observation, recovery
from kato_manager.crash_points import crash_point
from kato_manager.engines import Runtimes
from kato_manager.errors import (
    Conflict,
    InstanceExists,
    InstanceNotFound,
    KatoError,
    RuntimeUnavailable,
)
from kato_manager.files import make_private
from kato_manager.launcher import Launcher
from kato_manager.model import (
    Handle,
    Instance,
    InstanceSpec,
    Operation,
    Status,
    differences,
    touched,
)
from kato_manager.observation import Seen
from kato_manager.registry import Registry
from kato_manager.registry_file import Instances
from kato_manager.reservation import Reservations, begin, refuse_clash
from kato_manager.settings import Settings

LEAST_GRACE_S = 1.0  # to end by itself after a drain that took all of the grace
Note = Callable[[str], None]
Drain = Callable[[str, float], object]


class Manager:
    """Changes instances, safely beside any number of other managers in other processes.

    `on_note` is told what a user should know but did not ask: a port moved, a lock waited for.
    `drain` waits, at most so many seconds, until nothing is in flight to an instance that is
    recorded as stopping.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        runtimes: Runtimes,
        *,
        on_note: Note = lambda _note: None,
        drain: Drain = lambda _instance_id, _grace_s: None,
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.runtimes = runtimes
        self._note = on_note
        self._drain = drain
        self._reservations = Reservations(settings, registry, runtimes, on_note)
        self._launcher = Launcher(registry, runtimes, self._reservations)

    @classmethod
    def of(
        cls,
        settings: Settings,
        environ: Mapping[str, str] = os.environ,
        *,
        on_note: Note = lambda _note: None,
        drain: Drain = lambda _instance_id, _grace_s: None,
    ) -> "Manager":
        """The manager of one `KATO_HOME`, with the runtimes of this machine."""
        registry = Registry(
            settings.home,
            lock_timeout_s=settings.lock_timeout_s,
            survivors=lambda registry_id: recovery.survivors(runtimes, registry_id),
            on_note=on_note,
        )
        runtimes = Runtimes(
            settings.home, environ, registry_id=registry.ensure_id, on_progress=on_note
        )
        return cls(settings, registry, runtimes, on_note=on_note, drain=drain)

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
                self._launcher.end(recorded)
            instance, listener = self._reservations.make(spec, recorded, origin)
            crash_point("start.reserved")
            return self._launcher.launch(
                instance, listener, recorded, wait=wait, timeout_s=timeout_s
            )

    def declare(self, spec: InstanceSpec, *, origin: str = "") -> Instance:
        """Record an instance with a port of its own, to be started by its first request."""
        with self._exclusively(spec.id, 0):
            recorded = self._settled(spec.id)
            if recorded and self._is_running(recorded):
                return self._as_wished(recorded, spec)
            instance, listener = self._reservations.make(spec, recorded, origin, to_launch=False)
            listener.close()
            reason = "starts on demand"
            return self.registry.record(
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
                    before, status=Status.STOPPING, operation=_stopping(before, keep)
                )
            crash_point("stop.marked")
            self._end_drained(before, grace_s)
            crash_point("stop.ended")
            if purge and before.runtime:
                self.runtimes[before.runtime].purge(before)
            with self.registry.edit() as instances:
                if rests := recovery.at_rest(before, keep):
                    instances[instance_id] = rests
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
            self.registry.record(
                touched(recorded, status=Status.STOPPING, operation=begin("restart"))
            )
            crash_point("restart.marked")
            self._end_drained(recorded, None)
            crash_point("restart.ended")
            instance, listener = self._reservations.make(
                spec or recorded.spec, recorded, recorded.origin
            )
            crash_point("restart.reserved")
            return self._launcher.launch(
                instance, listener, recorded, wait=wait, timeout_s=timeout_s
            )

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
            new, listener = self._reservations.make_beside(old, spec, origin)
            crash_point("replace.marked")

            def ready(handle: Handle) -> None:
                crash_point("replace.launched")
                self._launcher.wait_until_ready(new, handle, timeout_s)
                # From here on the gateway sends requests to the new one.
                self.registry.record(touched(new, status=Status.RUNNING, handle=handle))
                crash_point("replace.recorded")

            try:
                handle = self.runtimes[old.runtime].replace(old.handle, new, listener, ready)
            except BaseException:
                self.registry.record(touched(old, operation=None))
                raise
            crash_point("replace.ended")
            return self.registry.record(
                touched(new, status=Status.RUNNING, handle=handle, operation=None)
            )

    def status(self, instances: Iterable[Instance] | None = None) -> list[Seen]:
        """These instances, or all, with what their engines say."""
        chosen = self.registry.read().values() if instances is None else instances
        return observation.observe(chosen, self.runtimes)

    def survivors(self, registry_id: str | None) -> Iterator[Instance]:
        """What runs although no registry remembers it."""
        return recovery.survivors(self.runtimes, registry_id)

    def logs(self, instance_id: str, *, tail: int | None, follow: bool) -> Iterator[str]:
        """What an instance printed, this run's and earlier ones' as far as they are kept.

        A local instance's log outlives its entry: a start that failed can still be looked into.
        """
        instances = self.registry.read()
        recorded = instances.get(instance_id)
        if recorded and recorded.handle:
            return self.runtimes[recorded.runtime].logs(recorded.handle, tail=tail, follow=follow)
        folder = names.container_name(instance_id)
        if recorded is None and not (self.settings.home / "instances" / folder).exists():
            raise _unknown(instance_id, instances)
        past = {"folder": folder, "pid": 0, "started": ""}
        return self.runtimes["local"].logs(past, tail=tail, follow=follow)

    def settle(self, instance_id: str) -> None:
        """Finish or undo what a dead command left unfinished; waits for a living one."""
        with self._exclusively(instance_id, 0):
            self._settled(instance_id)

    def settle_all(self) -> None:
        """Settle the operations whose owners have died; those of living commands are left alone.

        One that cannot be settled is told and stays: it must not keep the others from anybody.
        """
        for instance_id, instance in self.registry.read().items():
            if instance.operation and self.is_free(instance_id):
                try:
                    with suppress(RuntimeUnavailable):
                        self.settle(instance_id)
                except KatoError as problem:
                    self._note(f"instance {instance_id!r} is left as it is: {problem}")

    def is_free(self, instance_id: str) -> bool:
        """Whether no living command works on this instance."""
        return lock.is_free(self._lock_path(instance_id))

    @contextmanager
    def _exclusively(self, instance_id: str, longest_s: float) -> Iterator[None]:
        """Hold the instance's own lock, waiting for another command's slow work if need be."""
        names.check_id(instance_id)
        path = self._lock_path(instance_id)
        make_private(path.parent)
        timeout_s = self.settings.lock_timeout_s + longest_s
        what = f"instance {instance_id!r}"
        with lock.held(path, what=what, timeout_s=timeout_s, on_wait=self._note, passing=True):
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
        # The environment a program is launched with only repeats its settings.
        said = [one for one in changed if one.name != "launch.environment"] or changed
        if blocking := [str(one) for one in said if one.needs_restart]:
            raise Conflict(
                f"instance {running.id!r} runs with other settings: {', '.join(blocking)}",
                hint=f"kato restart {running.id} with the same options changes them",
            )
        wanted = {one.name.partition(".")[0] for one in changed}
        values = {name: getattr(spec, name) for name in wanted}
        kept = touched(running, spec=replace(running.spec, **values))
        with self.registry.edit() as instances:
            refuse_clash(kept.spec, instances)
            instances[running.id] = kept
        return kept

    def _end_drained(self, instance: Instance, grace_s: float | None) -> None:
        """Let what is in flight finish, then end it, all within its grace.

        When it can not be ended, what was recorded before holds again.
        """
        grace_s = instance.spec.grace_s if grace_s is None else grace_s
        deadline = time.monotonic() + grace_s
        try:
            if instance.status is Status.RUNNING and grace_s:
                self._drain(instance.id, grace_s)
            left_s = deadline - time.monotonic()
            self._launcher.end(instance, grace_s=max(left_s, min(grace_s, LEAST_GRACE_S)))
        except BaseException:
            self.registry.record(instance)
            raise


def _stopping(instance: Instance, keep: str) -> Operation:
    """A stop; of an unfinished operation it keeps the id, which finds what that one launched."""
    return replace(instance.operation or begin("stop"), verb="stop", keep=keep)


def _known(instances: Instances, instance_id: str) -> Instance:
    if instance_id not in instances:
        raise _unknown(instance_id, instances)
    return instances[instance_id]


def _unknown(instance_id: str, instances: Iterable[str]) -> InstanceNotFound:
    meant = names.closest(instance_id, instances)
    hint = f"did you mean {meant!r}?" if meant else "kato list shows them all"
    return InstanceNotFound(f"there is no instance {instance_id!r}", hint=hint)
