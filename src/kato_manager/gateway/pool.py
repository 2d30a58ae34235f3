"""The connections to one target, kept open between exchanges."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from kato_manager.gateway.limits import Limits
from kato_manager.gateway.upstream import Exchange, Upstream

_DEAF = "it accepts no connection"


class Pool:
    """Connections to one target, the latest used first."""

    def __init__(
        self,
        connect: Callable[[Callable[[], Upstream]], Awaitable[Any]],
        *,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self.limits = limits
        self.pending = 0  # exchanges in flight, tunnels not counted
        self._connect = connect
        self._clock = clock
        self._idle: deque[Upstream] = deque()
        self._open: set[Upstream] = set()
        self._tasks: set[asyncio.Task[None]] = set()  # connections being made
        self._is_deaf = False  # the last one made was not accepted in time

    @property
    def is_full(self) -> bool:
        return self.pending >= self.limits.upstream_connections

    def take(self) -> Upstream | None:
        """A connection that rests here."""
        while self._idle:
            upstream = self._idle.pop()
            if not upstream.transport.is_closing():
                return upstream
        return None

    def connect(self, exchange: Exchange) -> None:
        """Open a new connection; the exchange hears `connected` or `failed`.

        While a target accepts none, one exchange at a time waits for it; others need not.
        """
        if self._is_deaf and self._tasks:
            exchange.failed(_DEAF, sent=False)
            return
        task = asyncio.get_running_loop().create_task(self._open_for(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_for(self, exchange: Exchange) -> None:
        try:
            async with asyncio.timeout(self.limits.connect_s):
                _, upstream = await self._connect(lambda: Upstream(self))
        except TimeoutError:
            self._is_deaf = True
            exchange.failed(_DEAF, sent=False)
        except OSError as error:
            self._is_deaf = False
            detail = (error.strerror or str(error)).lower()
            exchange.failed(f"no connection to it: {detail}", sent=False)
        else:
            self._is_deaf = False
            exchange.connected(upstream)

    def opened(self, upstream: Upstream) -> None:
        self._open.add(upstream)

    def closed(self, upstream: Upstream) -> None:
        self._open.discard(upstream)

    def release(self, upstream: Upstream) -> None:
        if len(self._idle) >= self.limits.idle_upstream_connections:
            upstream.abort()
            return
        upstream.idle_since = self._clock()
        self._idle.append(upstream)

    def close_idle(self, *, before: float) -> None:
        """Close what has rested since before that moment."""
        while self._idle and self._idle[0].idle_since < before:
            self._idle.popleft().abort()

    def close(self) -> None:
        """End all connections, whatever they do."""
        self._idle.clear()
        for upstream in list(self._open):
            upstream.abort()

    @property
    def is_unused(self) -> bool:
        return not (self._idle or self._open or self._tasks)
