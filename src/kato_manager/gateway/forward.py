"""The client's side of a connection: requests in, responses out, one exchange at a time."""

import asyncio
from enum import Enum, auto
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any

from kato_manager.gateway import problems, requests, rewrite
from kato_manager.gateway.chunks import BadChunks, Chunks
from kato_manager.gateway.problems import Problem, bad_request
from kato_manager.gateway.requests import HEAD_END, Request
from kato_manager.gateway.responses import UNTIL_EOF, Response
from kato_manager.gateway.routes import Match, Route

if TYPE_CHECKING:
    from kato_manager.gateway.front import Front
    from kato_manager.gateway.upstream import Pool, Upstream

NEVER = float("inf")
_PENDING_BYTES = 64 * 1024  # of requests that wait for the one before them
_LINGER_S = 2.0  # RFC 9112, 9.6: close in stages, or a reset destroys the answer
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Phase(Enum):
    """What the next bytes of a client are."""

    HEAD = auto()  # a request, or the rest of its head
    BODY = auto()
    WAIT = auto()  # a later request: it waits until this one is answered
    TUNNEL = auto()
    LINGER = auto()  # nothing anybody reads


# Looking a member up in its class takes longer than a stat does, and a request does it ten times.
_HEAD, _BODY, _WAIT, _TUNNEL, _LINGER = Phase


class Client(asyncio.Protocol):
    """One connection of a client. It is the `Exchange` of its current request."""

    __slots__ = (
        "_answered",
        "_begun_at",
        "_chunks",
        "_data",
        "_half_closed",
        "_is_reading",
        "_keep_alive",
        "_left",
        "_paused",
        "_retried",
        "_sent_bytes",
        "_status",
        "_trouble",
        "_upstream",
        "_upstream_ended",
        "_wraps",
        "address",
        "deadline",
        "front",
        "is_woken",
        "match",
        "phase",
        "pool",
        "request",
        "request_id",
        "route",
        "sent_completely",
        "transport",
    )  # fmt: skip

    request: Request
    match: Match

    def __init__(self, front: "Front") -> None:
        self.front = front
        self.transport: Any = None
        self.phase = _HEAD
        self.deadline = NEVER
        self.route: Route | None = None
        self.pool: Pool | None = None
        self.sent_completely = True
        self.address = b""
        self._data = b""  # received, not yet understood
        self._upstream: Upstream | None = None
        self._chunks: Chunks | None = None
        self._left = 0
        self._paused = False
        self._half_closed = False
        self._keep_alive = True
        self._answered = True  # no exchange is open
        self._wraps = False  # we frame its body in chunks
        self._retried = False
        self._is_reading = False
        self._upstream_ended = False
        self._status = 0
        self._sent_bytes = 0
        self._begun_at = 0.0
        self._trouble = ""
        self.request_id = b""

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.address = peer[0].encode() if peer else b"local"
        self.deadline = self.front.now + self.front.limits.idle_s
        self.front.clients.add(self)

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase is _HEAD:
            self._read_heads(self._data + data if self._data else data)
        elif phase is _BODY:
            self._read_body(data)
        elif phase is _TUNNEL:
            self._upstream.transport.write(data)  # type: ignore[union-attr]
        elif phase is _WAIT:
            self._data += data
            if len(self._data) > _PENDING_BYTES:
                self.pause_reading()

    def eof_received(self) -> bool:
        """A client may close its half and still wait for the answer."""
        self._half_closed = True
        if self.phase is _TUNNEL and self._upstream:
            self._end_half(self._upstream.transport)
            return True
        if self.phase is _WAIT:
            self.deadline = self.front.now + 1.0
            return True
        if self.phase is _BODY:
            self._cancel()
        return False

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self.front.clients.discard(self)
        self.front.left()
        self._cancel()

    def _cancel(self) -> None:
        """The client does not want its answer any more."""
        upstream, self._upstream = self._upstream, None
        if upstream:
            if self.phase is _TUNNEL:
                upstream.exchange = None
                upstream.transport.close()
            else:
                upstream.cancel()
        self._status = self._status or _CLIENT_GONE
        self._account()
        self.phase = _LINGER

    def pause_writing(self) -> None:
        if self._upstream:
            self._upstream.transport.pause_reading()
        self.deadline = self.front.now + self.front.limits.stall_s

    def resume_writing(self) -> None:
        if self._upstream:
            self._upstream.transport.resume_reading()
        self.deadline = NEVER

    def pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    def timed_out(self) -> None:
        """The deadline passed."""
        if self.phase is _WAIT and self._half_closed and self._status == 0:
            self._probe()
        elif self.phase is _HEAD and not self._data:
            self.transport.close()
        elif self.phase is _HEAD:
            self._refuse(_too_slow())
        elif self.phase is _BODY and self._status == 0:
            self._withdraw()
            self.answer(_too_slow())
        else:
            self.transport.abort()

    def _probe(self) -> None:
        """Is it only half closed, or gone? Harmless bytes make a closed socket reset us."""
        self.deadline = self.front.now + 1.0 if not self.request.http_10 else NEVER
        if not self.request.http_10:
            self.transport.write(_CONTINUE)

    def drain(self) -> None:
        """Finish what is in flight, begin nothing."""
        self._keep_alive = False
        if self.phase is _HEAD and not self._data:
            self.transport.close()

    # Requests in

    def _read_heads(self, data: bytes) -> None:
        self._is_reading = True
        kept, self._data = bool(self._data), b""
        while self.phase is _HEAD and data:
            if data[0] == _CR and data[:2] in _EMPTY_LINE:
                if data == b"\r":
                    self._data = data
                    break
                data = data[2:]  # RFC 9112, 2.2: empty lines before a request
                continue
            end = data.find(HEAD_END)
            if end < 0 or end > self.front.limits.head_bytes:
                self._wait_for_head(data, is_new=not kept)
                break
            self._data = data[end + 4 :]
            self._begin(data[: end + 4])
            if self.phase is _HEAD:
                kept, data, self._data = False, self._data, b""
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
        elif problem := requests.early_problem(data):
            self._refuse(problem)
        else:
            if is_new:
                self.deadline = self.front.now + self.front.limits.header_s
            self._data = data

    def _refuse(self, problem: Problem) -> None:
        self.request = _UNREAD
        self._open()
        self.answer(problem)

    def _open(self) -> None:
        self._begun_at = perf_counter()
        self._trouble = ""
        self._answered = self._retried = False
        self._status = self._sent_bytes = 0
        self.sent_completely = True
        self._keep_alive = False
        self.request_id = self.front.new_request_id()
        self.route = None
        self.is_woken = False

    def _begin(self, head: bytes) -> None:
        self.request = _UNREAD
        self._open()
        front = self.front
        try:
            self.request = request = requests.parse(head)
            self._keep_alive = request.keep_alive
            self.request_id = request.request_id or self.request_id
            self.sent_completely = not request.has_body
            front.security.check(request)
            match = front.match(request)
            if match.target is None and (own := front.own_answer(request, match)):
                self.reply(*own)
                return
            self.match = match
            self._expect_body(request)
            front.dispatch(self)
        except Problem as problem:
            self.answer(problem)

    def _expect_body(self, request: Request) -> None:
        self.deadline = NEVER
        self.phase = _WAIT
        if not self.sent_completely:
            self.phase = _BODY
            self._left = request.length
            self._chunks = Chunks() if request.chunked else None
            self.pause_reading()  # until there is somebody to pass it to

    def head_for(self, route: Route | None) -> bytes:
        """The head as this target gets it."""
        request, match = self.request, self.match
        path = match.path
        prefix = match.prefix
        if route and not route.strip and prefix:
            path, prefix = prefix + path, b""
        known = request.forwarded_for
        return (
            b"%b %b HTTP/1.1\r\nHost: %b\r\n%b"
            b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: %b\r\n%b"
            b"X-Request-Id: %b\r\n\r\n"
        ) % (
            request.method,
            path,
            request.host or b"localhost",
            request.lines,
            known + b", " + self.address if known else self.address,
            request.host or b"localhost",
            b"X-Forwarded-Prefix: %b\r\n" % prefix if prefix else b"",
            self.request_id,
        )

    def _read_body(self, data: bytes) -> None:
        if self._upstream is None:
            self._data += data
            return
        self.deadline = self.front.now + self.front.limits.idle_s
        if self._chunks:
            self._read_chunks(self._chunks, data)
            return
        left = self._left
        self._left = left - len(data)
        self._upstream.transport.write(data[:left] if self._left < 0 else data)
        if self._left <= 0:
            self._body_read(data[left:])

    def _read_chunks(self, chunks: Chunks, data: bytes) -> None:
        try:
            used = chunks.feed(data)
        except BadChunks as error:
            self._withdraw()
            if self._status:
                self.transport.close()
            else:
                self.answer(bad_request(str(error)))
            return
        self._upstream.transport.write(chunks.take())  # type: ignore[union-attr]
        if chunks.is_complete:
            self._body_read(data[used:])

    def _body_read(self, rest: bytes) -> None:
        self._data = rest
        self.deadline = NEVER
        self.sent_completely = True
        self._chunks = None
        self.phase = _WAIT

    def _withdraw(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream:
            upstream.cancel()

    # The exchange: what the target's side says

    def connected(self, upstream: "Upstream") -> None:
        if self._answered:
            upstream.pool.release(upstream)
            return
        self._upstream = upstream
        upstream.send(self, self.head_for(self.route))
        if self.phase is _BODY:
            data, self._data = self._data, b""
            if data:
                self._read_body(data)
            else:
                self.deadline = self.front.now + self.front.limits.idle_s
            self.resume_reading()

    @property
    def takes_chunks(self) -> bool:
        return not self.request.http_10

    def interim(self, head: bytes) -> None:
        if not self.request.http_10:
            self.transport.write(head)

    def responded(self, response: Response, length: int, first: bytes) -> None:
        self._status = response.status
        if not self.sent_completely or self.front.is_draining:
            self._keep_alive = False
        self._wraps = False
        framing = b""
        if length >= 0:
            if response.declared_length and response.status != _NO_CONTENT:
                framing = b"Content-Length: %b\r\n" % response.declared_length
        elif self.request.http_10:
            self._keep_alive = False  # the end of the connection is the end of the body
        else:
            framing, self._wraps = b"Transfer-Encoding: chunked\r\n", length == UNTIL_EOF
        lines = self._relocated(response) if response.has_paths else response.lines
        self._sent_bytes = len(first)
        self.transport.write(
            b"%b%bX-Request-Id: %b\r\n%b\r\n%b"
            % (lines, framing, self.request_id, self._connection_line(), first)
        )

    def _relocated(self, response: Response) -> bytes:
        route, prefix = self.route, self.match.prefix
        if route is None or not route.strip or not prefix:
            return response.lines
        itself = (b"127.0.0.1:%d" % route.port, b"localhost:%d" % route.port)
        hosts = frozenset((self.request.host.lower(), *itself))
        return rewrite.with_prefix(response.lines, prefix, hosts)

    def _connection_line(self) -> bytes:
        if not self._keep_alive:
            return b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if self.request.http_10 else b""

    def passed(self, part: bytes) -> None:
        self._sent_bytes += len(part)
        self.transport.write(b"%x\r\n%b\r\n" % (len(part), part) if self._wraps else part)

    def finished(self) -> None:
        self._upstream = None
        if self._wraps:
            self._wraps = False
            self.transport.write(b"0\r\n\r\n")
        self._done()

    def failed(self, detail: str, *, sent: bool) -> None:
        if self._answered:
            return
        self._upstream = None
        self._trouble = detail
        self.front.failed(self)
        in_group = self.route is not self.match.target
        if not self._retried and (self.request.is_safe or (in_group and not sent)):
            self._retried = True
            self._dispatch()
            return
        name = f"instance {self.route.id!r}" if self.route else "the control process"
        self.answer(
            Problem(
                status=502 if self.route else 503,
                code="instance_unreachable" if self.route else "control_unavailable",
                detail=f"{name} did not answer: {detail}",
                hint=f"kato logs {self.route.id}" if self.route else "kato gateway status",
                retry_after_s=1,
                members={"instance": self.route.id} if self.route else {},
            )
        )

    @property
    def is_retried(self) -> bool:
        return self._retried

    def woken(self, problem: Problem | None) -> None:
        """The instance that it waited for runs now, or cannot."""
        if self._answered:
            return
        if problem:
            self.answer(problem)
            return
        self.is_woken = True
        try:
            self.match = self.front.match(self.request)
        except Problem as gone:
            self.answer(gone)
        else:
            self._dispatch()

    def enter(self, pool: "Pool", route: Route | None) -> None:
        """Count this exchange to the load of a target, and to none before."""
        self._leave()
        self.pool, self.route = pool, route
        pool.pending += 1
        if route:
            self.front.counters.in_flight(route.id, 1)

    def _leave(self) -> None:
        if self.pool:
            self.pool.pending -= 1
            self.pool = None
            if self.route:
                self.front.counters.in_flight(self.route.id, -1)

    def _dispatch(self) -> None:
        try:
            self.front.dispatch(self)
        except Problem as problem:
            self.answer(problem)

    def broke_off(self, detail: str) -> None:
        self._upstream = None
        if self.phase is not _TUNNEL:
            self._trouble = detail
            self.front.failed(self)
        self._account()
        if self._wraps or self.phase is _TUNNEL or not self.request.http_10:
            self.transport.close()  # its missing end tells the client
        else:
            self.transport.abort()

    def switched(self, response: Response, first: bytes) -> None:
        self._status = response.status
        self.phase = _TUNNEL
        self.deadline = NEVER
        if self.route:
            self.front.counters.websocket(self.route.id, 1)
        self.transport.write(
            b"%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n%b"
            % (response.lines, response.upgrade, first)
        )
        data, self._data = self._data, b""
        if data:
            self._upstream.transport.write(data)  # type: ignore[union-attr]
        self.resume_reading()

    def ended_by_upstream(self) -> None:
        self._upstream_ended = True
        self._end_half(self.transport)

    def _end_half(self, transport: Any) -> None:
        """One side of the tunnel has ended; the other may still speak."""
        if self._half_closed and self._upstream_ended:
            self.transport.close()
        else:
            transport.write_eof()

    # Answers of the gateway's own

    def answer(self, problem: Problem) -> None:
        if problem.closes:
            self._keep_alive = False
        if self.request.wants_html:
            kind, body = b"text/html; charset=utf-8", problems.as_html(problem)
        else:
            kind, body = b"application/problem+json", problems.as_json(problem)
        self.reply(problem.status, kind, body, problem.headers, lingers=problem.closes)

    def reply(
        self, status: int, kind: bytes, body: bytes, lines: bytes = b"", *, lingers: bool = False
    ) -> None:
        """Answer without any target."""
        if self._answered:
            return
        self._status = status
        self._sent_bytes = len(body)
        if not self.sent_completely or self.front.is_draining:
            self._keep_alive = False
        self.transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n"
            b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
            b"X-Kato-Gateway: %b\r\nX-Request-Id: %b\r\n%b%b\r\n%b"
            % (
                status,
                HTTPStatus(status).phrase.encode(),
                kind,
                len(body),
                self.front.identity,
                self.request_id,
                lines,
                self._connection_line(),
                b"" if self.request.method == b"HEAD" else body,
            )
        )
        self._done(lingers=lingers)

    def _done(self, *, lingers: bool = False) -> None:
        """The response is complete."""
        self._account()
        if self._half_closed:
            self.transport.close()
        elif self._keep_alive:
            self.phase = _HEAD
            self.deadline = self.front.now + self.front.limits.idle_s
            if not self._is_reading and self._data:
                data, self._data = self._data, b""
                self.resume_reading()
                self._read_heads(data)
        elif lingers or not self.sent_completely:
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        self.phase = _LINGER
        self.deadline = self.front.now + _LINGER_S
        self._data = b""
        self.transport.write_eof()
        self.resume_reading()

    def _account(self) -> None:
        if not self._answered:
            self._answered = True
            self._leave()
            if self.phase is _TUNNEL and self.route:
                self.front.counters.websocket(self.route.id, -1)
            self.front.account(
                self,
                status=self._status,
                sent_bytes=self._sent_bytes,
                seconds=perf_counter() - self._begun_at,
                trouble=self._trouble,
            )


def _too_slow() -> Problem:
    return bad_request("the request took too long", status=408, code="timeout")


_CR = 13
_EMPTY_LINE = (b"\r\n", b"\r")
_NO_CONTENT = 204
_CLIENT_GONE = 499  # nginx's word for it, seen in logs only
_UNREAD = Request(
    method=b"-",
    target=b"-",
    host=b"",
    hostname=b"",
    http_10=False,
    keep_alive=False,
    length=0,
    chunked=False,
    upgrade=False,
    wants_html=False,
    origin=b"",
    is_cross_site=False,
    request_id=b"",
    forwarded_for=b"",
    lines=b"",
    pairs=(),
)
