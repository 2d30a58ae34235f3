"""The timers: follow the registry, restart what crashed, stop what is idle, ask how all are."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from kato_manager.errors import KatoError
from kato_manager.gateway.crashes import Crashes
from kato_manager.gateway.health import Health
from kato_manager.gateway.idle import NONE, Activity, Counted, is_quiet, overdue
from kato_manager.gateway.restarts import Policy
from kato_manager.gateway.stream import Stream
from kato_manager.gateway.tuning import Tuning
from kato_manager.gateway.watch import Event, Watch
from kato_manager.manager import Manager
from kato_manager.model import Instance, Status

WATCH_S = 0.2
LOOK_S = 0.5

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
        self._health_interval_s = tuning.health_interval_s
        self._clock = clock
        policy = Policy(
            attempts=tuning.restart_attempts,
            first_pause_s=tuning.restart_first_pause_s,
            longest_pause_s=tuning.restart_longest_pause_s,
            steady_s=tuning.restart_steady_s,
        )
        self._crashes = Crashes(manager, policy, on_exit=self._exited)
        self._busy: dict[str, asyncio.Task[str]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The timers run inside; slow work that they began is finished by its threads."""
        async with asyncio.TaskGroup() as timers:
            tasks = [
                timers.create_task(self._every(WATCH_S, self._follow)),
                timers.create_task(self._every(LOOK_S, self._look)),
                timers.create_task(self._every(self._health_interval_s, self._ask)),
            ]
            yield
            for task in tasks:
                task.cancel()

    async def _every(self, interval_s: float, step: Callable[[], Awaitable[None]]) -> None:
        said = ""
        while True:
            said = await _told(step(), said)
            await asyncio.sleep(interval_s)

    async def _follow(self) -> None:
        for event in self.watch.look():
            self.events.post(event)
            if event.kind == Status.RUNNING:
                # When it was recorded, not when we saw it: requests may have come in between.
                age = event.at - self.watch.instances[event.instance].updated_at
                began_s = self._clock() - max(0.0, age.total_seconds())
                self._activity.touch(event.instance, began_s)
            elif event.kind == "removed":
                self._activity.forget(event.instance)

    async def _ask(self) -> None:
        await self.health.check(filter(_is_settled, self.watch.instances.values()))

    def _health_changed(self, instance_id: str, problem: str) -> None:
        kind = "unhealthy" if problem else "healthy"
        self.events.post(Event(kind=kind, instance=instance_id, detail=problem))

    def _exited(self, instance_id: str, how: str) -> None:
        self.events.post(Event(kind="exited", instance=instance_id, detail=how))

    async def _look(self) -> None:
        await self._follow()
        instances, now_s = self.watch.instances, self._clock()
        settled = [one for one in instances.values() if _is_settled(one)]
        idle = [one for one in settled if one.id not in self._busy]
        self._activity.look([one.id for one in settled], self._counted(), now_s)
        await self._crashes.look(instances, idle, now_s)
        for one in list(self._crashes.due(now_s)):
            self._begin(one, partial(self._crashes.settle, one, self._clock))
        for instance in overdue(idle, self._activity, now_s):
            self._begin(instance.id, partial(self._rest, instance))

    async def _rest(self, instance: Instance) -> None:
        if not is_quiet(self._counted().get(instance.id, NONE)):
            return
        on_demand = instance.spec.start == "on-demand"
        way_back = "starts on demand" if on_demand else f"kato start --id {instance.id}"
        reason = f"idle for {instance.spec.idle_timeout_s:g} s; {way_back}"
        await asyncio.to_thread(self._manager.stop, instance.id, keep=reason)

    def _begin(self, instance_id: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Slow work on one instance; one at a time, and the timers go on."""
        if instance_id not in self._busy:
            task = asyncio.create_task(_told(work()))
            self._busy[instance_id] = task
            task.add_done_callback(lambda _: self._busy.pop(instance_id))


def _is_settled(instance: Instance) -> bool:
    return instance.status is Status.RUNNING and instance.operation is None


async def _told(work: Awaitable[None], said: str = "") -> str:
    """Do it; an error that was not said before goes to the log, and is what is returned."""
    try:
        await work
    except (KatoError, OSError) as error:
        if str(error) != said:
            say(str(error))
        return str(error)
    return ""


def say(text: str) -> None:
    """A line of the gateway's log."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f"{moment} control: {text}", file=sys.stderr, flush=True)  # noqa: T201 - its log
