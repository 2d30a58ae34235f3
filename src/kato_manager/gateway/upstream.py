"""Connections to one target: a pool that keeps them, and the reading of what they answer."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Any, Protocol

from kato_manager.gateway import responses
from kato_manager.gateway.chunks import BadChunks, Chunks
from kato_manager.gateway.limits import Limits
from kato_manager.gateway.requests import HEAD_END, Request
from kato_manager.gateway.responses import CHUNKED, UNTIL_EOF, BadResponse, Response


class Exchange(Protocol):
    """The client's side of one request and its response."""

    request: Request
    sent_completely: bool

    def connected(self, upstream: "Upstream") -> None: ...
    def responded(self, response: Response, length: int, first: bytes) -> None:
        """The head and what came with it; `first` may be all of the body."""

    def passed(self, part: bytes) -> None: ...
    def interim(self, head: bytes) -> None: ...
    def switched(self, response: Response, first: bytes) -> None: ...
    def finished(self) -> None: ...
    def ended_by_upstream(self) -> None: ...
    def failed(self, detail: str, *, sent: bool) -> None: ...
    def broke_off(self, detail: str) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    @property
    def takes_chunks(self) -> bool: ...


class Phase(Enum):
    """What the next bytes of an instance are."""

    IDLE = auto()
    HEAD = auto()
    LENGTH = auto()
    CHUNKS = auto()
    UNTIL_EOF = auto()
    TUNNEL = auto()


_IDLE, _HEAD, _LENGTH, _CHUNKS, _UNTIL_EOF, _TUNNEL = Phase  # quicker than by attribute
_BODY_PHASES = {CHUNKED: _CHUNKS, UNTIL_EOF: _UNTIL_EOF}


class Upstream(asyncio.Protocol):
    """One connection to a target. It serves one exchange at a time, or rests in its pool."""

    __slots__ = (
        "_buffer", "_chunks", "_left", "_phase", "_reusable",
        "exchange", "idle_since", "pool", "transport",
    )  # fmt: skip

    def __init__(self, pool: "Pool") -> None:
        self.pool = pool
        self.exchange: Exchange | None = None
        self.transport: Any = None  # asyncio.Transport; uvloop's is none of its subclasses
        self.idle_since = 0.0
        self._phase = _IDLE
        self._buffer = b""
        self._left = 0
        self._chunks: Chunks | None = None
        self._reusable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.pool.opened(self)

    def send(self, exchange: Exchange, head: bytes) -> None:
        """Begin an exchange."""
        self.exchange = exchange
        self._phase = _HEAD
        self.transport.write(head)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.abort()  # it speaks without having been asked
            return
        phase = self._phase
        if phase is _HEAD:
            self._read_head(exchange, data)
        elif phase is _LENGTH:
            self._read_length(exchange, data)
        elif phase is _CHUNKS:
            self._read_chunks(exchange, data)
        else:
            exchange.passed(data)

    def _read_head(self, exchange: Exchange, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        while self._phase is _HEAD and data:
            end = data.find(HEAD_END)
            if end < 0:
                self._keep(data)
                return
            head, data = data[: end + 4], data[end + 4 :]
            try:
                response = responses.parse(head)
            except BadResponse as error:
                self._give_up(str(error))
                return
            if response.is_interim:
                exchange.interim(head)
            else:
                self._begin(exchange, response, data)

    def _keep(self, data: bytes) -> None:
        if len(data) > self.pool.limits.head_bytes:
            self._give_up("the head of its answer is too large")
        self._buffer = data

    def _begin(self, exchange: Exchange, response: Response, data: bytes) -> None:
        """The final head is here, and `data` after it."""
        self._reusable = response.keep_alive
        if response.status == 101:  # noqa: PLR2004
            self._switch(exchange, response, data)
            return
        length = responses.body_length(response, exchange.request)
        if length >= 0:
            self._left = length - len(data)
            if self._left < 0:
                data, self._reusable = data[:length], False
            self._phase = _LENGTH
            exchange.responded(response, length, data)
            if self._left <= 0:
                self._finish(exchange)
            return
        self._phase = _BODY_PHASES[length]
        exchange.responded(response, length, b"")
        if self._phase is _CHUNKS:
            self._chunks = Chunks()
        if data:
            self.data_received(data)

    def _switch(self, exchange: Exchange, response: Response, data: bytes) -> None:
        if not exchange.request.upgrade:
            self._give_up("it switches protocols unasked")
            return
        self._phase = _TUNNEL
        exchange.switched(response, data)

    def _read_length(self, exchange: Exchange, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            data, self._reusable = data[: self._left], False
        exchange.passed(data)
        if self._left <= 0:
            self._finish(exchange)

    def _read_chunks(self, exchange: Exchange, data: bytes) -> None:
        chunks = self._chunks
        assert chunks is not None  # noqa: S101 - set with the phase
        try:
            used = chunks.feed(data)
        except BadChunks as error:
            self._give_up(str(error))
            return
        if used < len(data):
            data, self._reusable = data[:used], False
        plain = chunks.take_plain()
        # The same framing on both sides: what was read strictly can pass as it is.
        exchange.passed(data if exchange.takes_chunks else plain)
        if chunks.is_complete and self.exchange:
            self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        if self.exchange is not exchange:
            return
        self.exchange = None
        self._chunks = None
        if self._reusable and exchange.sent_completely:
            self._phase = _IDLE
            self.pool.release(self)
        else:
            self.abort()
        exchange.finished()

    def _give_up(self, detail: str) -> None:
        exchange, self.exchange = self.exchange, None
        begun = self._phase is not _HEAD
        self.abort()
        if exchange is None:
            return
        if begun:
            exchange.broke_off(detail)
        else:
            exchange.failed(detail, sent=True)

    def eof_received(self) -> bool:
        if self._phase is _TUNNEL and self.exchange:
            self.exchange.ended_by_upstream()
            return True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.pool.closed(self)
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return
        if self._phase is _HEAD:
            detail = f"it closed the connection ({error})" if error else "it closed the connection"
            exchange.failed(f"{detail} without an answer", sent=True)
        elif self._phase is _UNTIL_EOF and error is None:
            exchange.finished()
        else:
            exchange.broke_off("it closed the connection in the middle of its answer")

    def pause_writing(self) -> None:
        if self.exchange:
            self.exchange.pause_reading()

    def resume_writing(self) -> None:
        if self.exchange:
            self.exchange.resume_reading()

    def cancel(self) -> None:
        """The client is gone: so is its exchange."""
        self.exchange = None
        self.abort()

    def abort(self) -> None:
        self.transport.abort()


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
        self._tasks: set[asyncio.Task[None]] = set()

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
        """Open a new connection; the exchange hears `connected` or `failed`."""
        task = asyncio.get_running_loop().create_task(self._open_for(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_for(self, exchange: Exchange) -> None:
        try:
            async with asyncio.timeout(self.limits.connect_s):
                _, upstream = await self._connect(lambda: Upstream(self))
        except TimeoutError:
            exchange.failed("it accepts no connection", sent=False)
        except OSError as error:
            detail = (error.strerror or str(error)).lower()
            exchange.failed(f"no connection to it: {detail}", sent=False)
        else:
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
