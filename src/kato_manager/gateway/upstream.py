"""One connection to a target, and the reading of what it answers."""

import asyncio
import os
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

from kato_manager.gateway import responses
from kato_manager.gateway.chunks import BadChunks, Chunks
from kato_manager.gateway.grammar import HEAD_END
from kato_manager.gateway.requests import Request
from kato_manager.gateway.responses import CHUNKED, UNTIL_EOF, BadResponse, Response

if TYPE_CHECKING:
    from kato_manager.gateway.pool import Pool


class Exchange(Protocol):
    """Whoever asks a target: the side of one request and its response that is not the target's."""

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
_READ_BYTES = 256 * 1024
_BODY_PHASES = {CHUNKED: _CHUNKS, UNTIL_EOF: _UNTIL_EOF}


class Upstream(asyncio.Protocol):
    """One connection to a target. It serves one exchange at a time, or rests in its pool."""

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
        self._is_paused = False

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
        while data:
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
            if not response.is_interim:
                # The next exchange may have begun here when this returns: touch nothing after it.
                self._begin(exchange, response, data)
                return
            exchange.interim(head)

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
        self.resume_reading()  # a slow client may have paused us at the very end
        if self._reusable and exchange.sent_completely and not self._is_sending(exchange):
            self._phase = _IDLE
            self.pool.release(self)
        else:
            self.abort()
        exchange.finished()

    def _is_sending(self, exchange: Exchange) -> bool:
        """It answered before it had all of the request."""
        return exchange.request.has_body and self.transport.get_write_buffer_size() > 0

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
        if error and self.exchange:
            self._reusable = False
            self._read_rest()
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return
        if self._phase is _HEAD:
            detail = f"it closed the connection ({error})" if error else "it closed the connection"
            exchange.failed(f"{detail} without an answer", sent=True)
        elif self._phase is _UNTIL_EOF and (error is None or not exchange.sent_completely):
            exchange.finished()  # a reset is what the rest of the request meets at a closed socket
        else:
            exchange.broke_off("it closed the connection in the middle of its answer")

    def _read_rest(self) -> None:
        """What arrived before the reset: whoever answers early and closes is no less heard.

        A failed write ends a transport at once, whatever waits to be read.
        """
        descriptor = self.transport.get_extra_info("socket").fileno()
        with suppress(OSError):
            while self.exchange and (data := os.read(descriptor, _READ_BYTES)):
                self.data_received(data)

    def pause_writing(self) -> None:
        if self.exchange:
            self.exchange.pause_reading()

    def resume_writing(self) -> None:
        if self.exchange:
            self.exchange.resume_reading()

    def pause_reading(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()

    def cancel(self) -> None:
        """The client is gone: so is its exchange."""
        self.exchange = None
        self.abort()

    def abort(self) -> None:
        self.transport.abort()
