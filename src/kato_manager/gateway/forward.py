"""The reading half of a client's connection: requests in, one at a time."""

import asyncio
from typing import TYPE_CHECKING

from kato_manager.gateway import grammar, requests
from kato_manager.gateway.answering import BODY, HEAD, LINGER, NEVER, TUNNEL, WAIT
from kato_manager.gateway.chunks import BadChunks, Chunks
from kato_manager.gateway.exchange import ClientExchange
from kato_manager.gateway.front_page import own_answer
from kato_manager.gateway.grammar import HEAD_END
from kato_manager.gateway.problems import Problem, bad_request
from kato_manager.gateway.requests import UNREAD, Request

if TYPE_CHECKING:
    from kato_manager.gateway.front import Front

_PENDING_BYTES = 64 * 1024  # of requests that wait for the one before them
_PROBE_S = 1.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLIENT_GONE = 499  # nginx's word for it, seen in logs only
_CR = 13
_EMPTY_LINE = (b"\r\n", b"\r")


class Client(ClientExchange):
    """One connection of a client. Requests that come early wait in `data`."""

    def __init__(self, front: "Front") -> None:
        super().__init__(front)
        self._chunks: Chunks | None = None
        self._left = 0  # of a body with a length
        self._is_paused = False
        self._is_reading = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.address = peer[0].encode() if peer else b"local"
        self.deadline = self.front.now + self.front.limits.idle_s
        self.front.clients.add(self)

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase is HEAD:
            self._read_heads(self.data + data if self.data else data)
        elif phase is BODY:
            self.read_body(data)
        elif phase is TUNNEL:
            self.upstream.transport.write(data)  # type: ignore[union-attr]
        elif phase is WAIT:
            self.data += data
            if len(self.data) > _PENDING_BYTES:
                self.pause_reading()
        else:
            self.linger_on()

    def eof_received(self) -> bool:
        """A client may close its half and still wait for the answer."""
        self.half_closed = True
        if self.phase is TUNNEL and self.upstream:
            self._end_half(self.upstream.transport)
            return True
        if self.phase is WAIT:
            self.deadline = self.front.now + _PROBE_S
            return True
        if self.phase is BODY:
            self._cancel()
        return False

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self.front.clients.discard(self)
        self.front.left()
        self._cancel()

    def _cancel(self) -> None:
        """The client does not want its answer any more."""
        upstream, self.upstream = self.upstream, None
        if upstream:
            if self.phase is TUNNEL:
                upstream.exchange = None
                upstream.transport.close()
            else:
                upstream.cancel()
        self.status = self.status or _CLIENT_GONE
        self._account()
        self.phase = LINGER

    def pause_writing(self) -> None:
        if self.upstream:
            self.upstream.pause_reading()
        self.deadline = self.front.now + self.front.limits.stall_s

    def resume_writing(self) -> None:
        if self.phase is LINGER:
            self.linger_on()
            return
        if self.upstream:
            self.upstream.resume_reading()
        is_ours = self.phase in {WAIT, TUNNEL}
        self.deadline = NEVER if is_ours else self.front.now + self.front.limits.idle_s

    def pause_reading(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()

    def timed_out(self) -> None:
        """The deadline passed."""
        if self.phase is WAIT and self.half_closed and self.status == 0:
            self._probe()
        elif self.phase is HEAD and not self.data:
            self.transport.close()
        elif self.phase is HEAD:
            self._refuse(_too_slow())
        elif self.phase is BODY and self.status == 0:
            self._withdraw()
            self.answer(_too_slow())
        elif self.phase is LINGER and self.transport.get_write_buffer_size() and self.may_linger:
            self.linger_on()
        else:
            self.transport.abort()

    def _probe(self) -> None:
        """Is it only half closed, or gone? Harmless bytes make a closed socket reset us."""
        self.deadline = self.front.now + _PROBE_S if not self.request.http_10 else NEVER
        if not self.request.http_10:
            self.transport.write(_CONTINUE)

    def drain(self) -> None:
        """Finish what is in flight, begin nothing."""
        self.keep_alive = False
        if self.phase is HEAD and not self.data:
            self.transport.close()

    def _read_heads(self, data: bytes) -> None:
        self._is_reading = True
        kept, self.data = bool(self.data), b""
        while self.phase is HEAD and data:
            if data[0] == _CR and data[:2] in _EMPTY_LINE:
                if data == b"\r":
                    self.data = data
                    break
                data = data[2:]  # RFC 9112, 2.2: empty lines before a request
                continue
            end = data.find(HEAD_END)
            if end < 0 or end > self.front.limits.head_bytes:
                self._wait_for_head(data, is_new=not kept)
                break
            self.data = data[end + 4 :]
            self._begin(data[: end + 4])
            if self.phase is HEAD:
                kept, data, self.data = False, self.data, b""
        self._is_reading = False

    def _wait_for_head(self, data: bytes, *, is_new: bool) -> None:
        if len(data) > self.front.limits.head_bytes:
            self._refuse(
                bad_request(
                    f"the head has more than {self.front.limits.head_bytes} bytes",
                    status=431 if b"\n" in data else 414,
                    code="headers_too_large",
                )
            )
        elif problem := grammar.early_problem(data):
            self._refuse(problem)
        else:
            if is_new:
                self.deadline = self.front.now + self.front.limits.header_s
            self.data = data

    def _refuse(self, problem: Problem) -> None:
        self.request = UNREAD
        self.begin()
        self.answer(problem)

    def next_request(self) -> None:
        self.deadline = self.front.now + self.front.limits.idle_s
        self.resume_reading()
        if self.data and not self._is_reading:
            data, self.data = self.data, b""
            self._read_heads(data)

    def _begin(self, head: bytes) -> None:
        self.request = UNREAD
        self.begin()
        front = self.front
        try:
            self.request = request = requests.parse(head)
            self.keep_alive = request.keep_alive
            self.request_id = request.request_id or self.request_id
            self.sent_completely = not request.has_body
            front.security.check(request)
            match = front.match(request)
            if match.target is None and (
                own := own_answer(request, match, front.routes.table, front.identity)
            ):
                self.reply(*own)
                return
            self.match = match
            self._expect_body(request)
            front.dispatch(self)
        except Problem as problem:
            self.answer(problem)

    def _expect_body(self, request: Request) -> None:
        self.deadline = NEVER
        self.phase = WAIT
        if not self.sent_completely:
            self.phase = BODY
            self._left = request.length
            self._chunks = Chunks() if request.chunked else None
            self.pause_reading()  # until there is somebody to pass it to

    def read_body(self, data: bytes) -> None:
        if self.upstream is None:
            self.data += data
            return
        self.deadline = self.front.now + self.front.limits.idle_s
        if self._chunks:
            self._read_chunks(self._chunks, data)
            return
        left = self._left
        self._left = left - len(data)
        self.upstream.transport.write(data[:left] if self._left < 0 else data)
        if self._left <= 0:
            self._body_read(data[left:])

    def _read_chunks(self, chunks: Chunks, data: bytes) -> None:
        try:
            used = chunks.feed(data)
        except BadChunks as error:
            self._withdraw()
            if self.status:
                self.transport.close()
            else:
                self.answer(bad_request(str(error)))
            return
        self.upstream.transport.write(chunks.take())  # type: ignore[union-attr]
        if chunks.is_complete:
            self._body_read(data[used:])

    def _body_read(self, rest: bytes) -> None:
        self.data = rest
        self.deadline = NEVER
        self.sent_completely = True
        self._chunks = None
        self.phase = WAIT

    def _withdraw(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream:
            upstream.cancel()


def _too_slow() -> Problem:
    return bad_request("the request took too long", status=408, code="timeout")
