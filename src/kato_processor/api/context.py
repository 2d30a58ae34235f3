"""What handlers share: the processor, its threads, and one line per session to stand in."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple

from starlette.requests import Request

from kato_processor.api.events import Events
from kato_processor.monitor import Monitor
from kato_processor.processor import Processor

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")
THREADS = 4
SWEEP_EVERY_S = 60.0


@dataclass(slots=True)
class _Line:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Context:
    """One per application.

    Work runs in threads, so that a long prediction delays no health check; the requests of one
    session run one after the other, in the order they came.
    """

    def __init__(self, processor: Processor, monitor: Monitor) -> None:
        self.processor = processor
        self.monitor = monitor
        self.events = Events()
        self.started_at = time.time()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="processor")
        self._lines: dict[str, _Line] = {}

    async def run(self, work: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """The result of `work`, from a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def in_line(
        self, session_id: str, work: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> Result:
        """Like `run`, after everything this session asked before."""
        async with self._turn(session_id):
            return await self.run(work, *arguments)

    @asynccontextmanager
    async def _turn(self, session_id: str) -> AsyncIterator[None]:
        line = self._lines.setdefault(session_id, _Line())
        line.waiting += 1
        try:
            async with line.lock:
                yield
        finally:
            line.waiting -= 1
            if not line.waiting:
                self._lines.pop(session_id, None)

    async def tend(self) -> None:
        """Remove expired sessions now and then, for as long as the process runs."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            await self.run(self.processor.sessions.sweep)

    def close(self) -> None:
        self._threads.shutdown()
        self.processor.close()


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context
