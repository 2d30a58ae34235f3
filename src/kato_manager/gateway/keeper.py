"""The timers: follow the registry, restart what crashed, stop what is idle, ask how all are."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from kato_manager import recovery
from kato_manager.errors import InstanceNotFound, KatoError
from kato_manager.gateway.health import Health
from kato_manager.gateway.idle import Activity, overdue
from kato_manager.gateway.restarts import Policy, Trouble, wants_restart
from kato_manager.gateway.stream import Stream
from kato_manager.gateway.traffic import NONE, Counted
from kato_manager.gateway.tuning import Tuning
from kato_manager.gateway.watch import Event, Watch
from kato_manager.manager import Manager
from kato_manager.model import Instance, Status
from kato_manager.runtimes.base import Observed

WATCH_S = 0.2
LOOK_S = 1.0
_LOG_LINES = 15

Clock = Callable[[], float]


class Keeper:
    """Holds every timer of one `KATO_HOME`; `events` hears what happens.

    An error that a user can understand is written to the log and the timer goes on; any other ends
    the process, which the supervisor starts again.
    """

    def __init__(
        self,
        manager: Manager,
        *,
        activity: Activity,
        counted: Counted,
        tuning: Tuning,
        clock: Clock = time.monotonic,
    ) -> None:
        self.events: Stream[Event] = Stream()
        self.watch = Watch(manager.registry)
        self.health = Health(manager.settings.home, on_change=self._health_changed)
        self._manager = manager
        self._activity = activity
        self._counted = counted
        self._tuning = tuning
        self._clock = clock
        self._policy = Policy(
            attempts=tuning.restart_attempts,
            first_pause_s=tuning.restart_first_pause_s,
            longest_pause_s=tuning.restart_longest_pause_s,
            steady_s=tuning.restart_steady_s,
        )
        self._troubles: dict[str, tuple[Instance, Trouble]] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as timers:
            timers.create_task(self._every(WATCH_S, self._follow))
            timers.create_task(self._every(LOOK_S, self._look))
            timers.create_task(self._every(self._tuning.health_interval_s, self._ask))

    async def _every(self, interval_s: float, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except (KatoError, OSError) as error:
                say(f"{error}")
            await asyncio.sleep(interval_s)

    async def _follow(self) -> None:
        for event in self.watch.look():
            self.events.post(event)

    async def _ask(self) -> None:
        await self.health.check(filter(_is_settled, self.watch.instances.values()))

    def _health_changed(self, instance_id: str, problem: str) -> None:
        kind = "unhealthy" if problem else "healthy"
        self.events.post(Event(kind=kind, instance=instance_id, detail=problem))

    async def _look(self) -> None:
        running = [one for one in self.watch.instances.values() if _is_settled(one)]
        now_s = self._clock()
        self._activity.look([one.id for one in running], self._counted(), now_s)
        for instance, observed in await asyncio.to_thread(self._dead, running):
            self._crashed(instance, observed, now_s)
        self._restart_due(now_s)
        for instance in overdue(running, self._activity, now_s):
            self._begin(instance.id, self._rest(instance))

    # Crashes

    def _dead(self, running: list[Instance]) -> list[tuple[Instance, Observed]]:
        """Local instances that ended by themselves; an engine restarts its own."""
        local = self._manager.runtimes["local"]
        seen = [(one, local.inspect(one.handle or {})) for one in running if one.runtime == "local"]
        return [(one, observed) for one, observed in seen if observed.state != "running"]

    def _crashed(self, instance: Instance, observed: Observed, now_s: float) -> None:
        known = self._troubles.get(instance.id)
        if instance.id in self._busy or (known and known[0].handle == instance.handle):
            return
        code = "" if observed.exit_code is None else f" with exit code {observed.exit_code}"
        self.events.post(Event(kind="exited", instance=instance.id, detail=f"ended{code}"))
        if wants_restart(instance.spec, observed.exit_code):
            self._count(instance, known and known[1], f"ended{code}", now_s)
        else:
            self._troubles[instance.id] = instance, Trouble(due_s=None)

    def _count(
        self, instance: Instance, trouble: Trouble | None, how: str, now_s: float
    ) -> None:
        """One more crash: restart it later, or give it up."""
        after = self._policy.crashed(trouble, now_s)
        self._troubles[instance.id] = instance, after
        if after.due_s is None:
            self._begin(instance.id, self._give_up(instance, after, how))

    async def _give_up(self, instance: Instance, trouble: Trouble, how: str) -> None:
        reason = f"crashed {trouble.crashes} times in a row, {how}"
        await asyncio.to_thread(self._record_failure, instance, reason)

    def _record_failure(self, instance: Instance, reason: str) -> None:
        if instance.handle and "\n" not in reason:
            lines = self._manager.logs(instance.id, tail=_LOG_LINES, follow=False)
            reason += "".join(f"\n  | {line}" for line in lines)
        recovery.give_up(self._manager.registry, instance, reason)

    def _restart_due(self, now_s: float) -> None:
        for instance_id, (instance, trouble) in list(self._troubles.items()):
            current = self.watch.instances.get(instance_id)
            if instance_id in self._busy:
                continue
            if current is None or (current.updated_at != instance.updated_at and not trouble.started_s):
                del self._troubles[instance_id]  # somebody else has changed it meanwhile
            elif trouble.due_s and trouble.due_s <= now_s:
                self._begin(instance_id, self._restart(instance, trouble))

    async def _restart(self, instance: Instance, trouble: Trouble) -> None:
        try:
            started = await asyncio.to_thread(self._manager.restart, instance.id)
        except InstanceNotFound:
            del self._troubles[instance.id]
        except KatoError as error:
            failed = self._manager.registry.read().get(instance.id)
            if failed:
                self._count(failed, trouble, f"last: {error}", self._clock())
        else:
            self._troubles[instance.id] = started, self._policy.started(trouble, self._clock())

    # Idle

    async def _rest(self, instance: Instance) -> None:
        if not self._counted().get(instance.id, NONE).is_quiet:
            return
        reason = f"idle for {instance.spec.idle_timeout_s:g} s; "
        on_demand = instance.spec.start == "on-demand"
        reason += "starts on demand" if on_demand else f"kato start --id {instance.id}"
        await asyncio.to_thread(self._manager.stop, instance.id, keep=reason)

    def _begin(self, instance_id: str, work: Coroutine[Any, Any, None]) -> None:
        """Slow work on one instance; one at a time, the timers go on."""
        if instance_id in self._busy:
            work.close()
            return
        task = asyncio.create_task(self._told(work))
        self._busy[instance_id] = task
        task.add_done_callback(lambda _: self._busy.pop(instance_id))

    async def _told(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (KatoError, OSError) as error:
            say(f"{error}")


def _is_settled(instance: Instance) -> bool:
    return instance.status is Status.RUNNING and instance.operation is None


def say(text: str) -> None:
    """A line of the gateway's log."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f"{moment} control: {text}", file=sys.stderr, flush=True)  # noqa: T201 - its log
