"""Starts an instance because a request for it is there, once for all who wait."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from kato_manager.errors import Conflict, KatoError
from kato_manager.gateway.idle import Activity, Counted, least_recently_used
from kato_manager.gateway.problems import Problem
from kato_manager.manager import Manager
from kato_manager.model import Instance, Status
from kato_manager.selection import select

FAILURE_HOLDS_S = 5.0  # so that a page of fifty requests does not start a broken one fifty times
ROOM_WAIT_S = 60.0
_ROOM_POLL_S = 0.1


class Waker:
    """`max_running` limits how many instances run at a time, 0 not at all.

    All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        manager: Manager,
        *,
        activity: Activity,
        counted: Counted,
        max_running: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._manager = manager
        self._activity = activity
        self._counted = counted
        self._max_running = max_running
        self._clock = clock
        self._flights: dict[str, asyncio.Task[Instance]] = {}
        self._failures: dict[str, tuple[float, KatoError]] = {}
        self._claimed: set[str] = set()
        self._deciding = asyncio.Lock()

    async def wake(self, instance_id: str) -> Instance:
        """The running instance; whoever asks while it starts waits for that same start.

        Raises what starting raises, `Conflict` for one that is not to be started by requests, and
        `Problem` when there is no room for it.
        """
        flight = self._flights.get(instance_id)
        if flight is None:
            flight = asyncio.create_task(self._start(instance_id))
            self._flights[instance_id] = flight
            flight.add_done_callback(lambda done: self._landed(instance_id, done))
        # Shielded: a client that gives up must not end the start for the others.
        return await asyncio.shield(flight)

    def _landed(self, instance_id: str, flight: "asyncio.Task[Instance]") -> None:
        del self._flights[instance_id]
        error = None if flight.cancelled() else flight.exception()
        if isinstance(error, KatoError):
            self._failures[instance_id] = self._clock() + FAILURE_HOLDS_S, error

    async def _start(self, instance_id: str) -> Instance:
        (instance,) = select(self._manager.registry.read(), [instance_id])[:1]
        if instance.spec.start != "on-demand":
            if instance.status is Status.RUNNING:
                return instance
            raise Conflict(
                f"instance {instance_id!r} is {instance.status} and not started by requests",
                hint=f"kato start --id {instance_id}",
            )
        until, error = self._failures.pop(instance_id, (0.0, None))
        if error and self._clock() < until:
            self._failures[instance_id] = until, error
            raise error
        async with self._room(instance_id):
            started = await asyncio.to_thread(
                self._manager.start, instance.spec, origin=instance.origin
            )
        self._activity.touch(instance_id, self._clock())
        return started

    @asynccontextmanager
    async def _room(self, instance_id: str) -> AsyncIterator[None]:
        """A place among those that run, made by stopping the least recently used if need be."""
        deadline_s = self._clock() + ROOM_WAIT_S
        while not await self._claim(instance_id):
            if self._clock() >= deadline_s:
                raise Problem(
                    status=503,
                    code="no_room",
                    detail=f"all {self._max_running} places are taken by instances that work",
                    hint="raise max_running in config.yaml, or stop one: kato stop ID",
                    retry_after_s=5,
                )
            await asyncio.sleep(_ROOM_POLL_S)
        try:
            yield
        finally:
            self._claimed.discard(instance_id)

    async def _claim(self, instance_id: str) -> bool:
        async with self._deciding:
            instances = self._manager.registry.read()
            others = {one for one in instances if instances[one].is_live} | self._claimed
            others.discard(instance_id)
            if self._max_running and len(others) >= self._max_running:
                resting = [i for one, i in instances.items() if one not in self._claimed]
                counted, now_s = self._counted(), self._clock()
                self._activity.look([one.id for one in resting], counted, now_s)
                chosen = least_recently_used(resting, self._activity, counted, now_s)
                if chosen is None:
                    return False
                reason = f"made room for {instance_id!r}; starts on demand"
                await asyncio.to_thread(self._manager.stop, chosen.id, keep=reason)
                if len(others) > self._max_running:
                    return False
            self._claimed.add(instance_id)
            return True
