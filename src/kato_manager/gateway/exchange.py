"""One request of a client and the response to it, whoever gives it."""

import asyncio
from enum import Enum, auto
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any

from kato_manager.gateway import problems, rewrite
from kato_manager.gateway.problems import Problem
from kato_manager.gateway.requests import Request, upstream_head
from kato_manager.gateway.responses import UNTIL_EOF, Response
from kato_manager.gateway.routes import Match, Route

if TYPE_CHECKING:
    from kato_manager.gateway.front import Front
    from kato_manager.gateway.pool import Pool
    from kato_manager.gateway.upstream import Upstream

NEVER = float("inf")
# RFC 9112, 9.6: close in stages, or a reset destroys the answer. The times are nginx's.
_LINGER_S = 5.0  # without a word of the client
_LONGEST_LINGER_S = 30.0
_NO_CONTENT = 204


class Phase(Enum):
    """What the next bytes of a client are."""

    HEAD = auto()  # a request, or the rest of its head
    BODY = auto()
    WAIT = auto()  # a later request: it waits until this one is answered
    TUNNEL = auto()
    LINGER = auto()  # nothing anybody reads


# Looking a member up in its class takes longer than a stat does, and a request does it ten times.
HEAD, BODY, WAIT, TUNNEL, LINGER = Phase


class ClientExchange(asyncio.Protocol):
    """The answering half of a client's connection; `forward.Client` is the reading half.

    A connection has one exchange at a time, and uses this object for each of them.
    """

    request: Request
    match: Match

    def __init__(self, front: "Front") -> None:
        self.front = front
        self.transport: Any = None  # asyncio.Transport; uvloop's is none of its subclasses
        self.address = b""
        self.phase = HEAD
        self.deadline = NEVER
        self.pool: Pool | None = None
        self.upstream: Upstream | None = None
        self.data = b""  # received, not yet understood
        self.is_over = True
        self.half_closed = False
        self._upstream_ended = False
        self._linger_until = 0.0
        self.begin()
        self.is_over = True

    def begin(self) -> None:
        """Forget the exchange before."""
        self.is_over = self.is_retried = self.is_woken = False
        self.route: Route | None = None
        self.request_id = self.front.new_request_id()
        self.sent_completely = True  # the request, to the target
        self.keep_alive = False
        self.status = 0  # none yet
        self._sent_bytes = 0
        self._trouble = ""
        self._wraps = False  # we frame its body in chunks
        self._begun_at = perf_counter()

    def next_request(self) -> None:
        """The connection is free for another exchange."""
        raise NotImplementedError

    def read_body(self, data: bytes) -> None:
        """Pass on a part of the request's body."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        raise NotImplementedError

    def resume_reading(self) -> None:
        raise NotImplementedError

    # What the target's side says

    def connected(self, upstream: "Upstream") -> None:
        if self.is_over:
            upstream.pool.release(upstream)
            return
        self.upstream = upstream
        upstream.send(
            self, upstream_head(self.request, self.match, self.route, self.address, self.request_id)
        )
        if self.phase is BODY:
            data, self.data = self.data, b""
            if data:
                self.read_body(data)
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
        self.status = response.status
        self.deadline = NEVER
        if not self.sent_completely or self.front.is_draining:
            self.keep_alive = False
        self._wraps = False
        framing = b""
        if length >= 0:
            if response.declared_length and response.status != _NO_CONTENT:
                framing = b"Content-Length: %b\r\n" % response.declared_length
        elif self.request.http_10:
            self.keep_alive = False  # the end of the connection is the end of the body
        else:
            framing, self._wraps = b"Transfer-Encoding: chunked\r\n", length == UNTIL_EOF
        lines = self._relocated(response) if response.has_paths else response.lines
        date = b"" if response.has_date else self.front.date_line
        self._sent_bytes = len(first)
        self.transport.write(
            b"%b%b%bX-Request-Id: %b\r\n%b\r\n%b"
            % (lines, date, framing, self.request_id, self._connection_line(), first)
        )

    def _relocated(self, response: Response) -> bytes:
        route, prefix = self.route, self.match.prefix
        if route is None or not route.strip or not prefix:
            return response.lines
        itself = (b"127.0.0.1:%d" % route.port, b"localhost:%d" % route.port)
        hosts = frozenset((self.request.host.lower(), *itself))
        return rewrite.with_prefix(response.lines, prefix, hosts)

    def _connection_line(self) -> bytes:
        if not self.keep_alive:
            return b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if self.request.http_10 else b""

    def passed(self, part: bytes) -> None:
        self._sent_bytes += len(part)
        self.transport.write(b"%x\r\n%b\r\n" % (len(part), part) if self._wraps else part)

    def finished(self) -> None:
        self.upstream = None
        if self._wraps:
            self._wraps = False
            self.transport.write(b"0\r\n\r\n")
        self._done()

    def failed(self, detail: str, *, sent: bool) -> None:
        if self.is_over:
            return
        self.upstream = None
        self._trouble = detail
        self.front.failed(self)
        in_group = self.route is not self.match.target
        # Asking the same one again helps only where it had closed a kept connection.
        if not self.is_retried and (self.request.is_safe if sent else in_group):
            self.is_retried = True
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

    def woken(self, problem: Problem | None) -> None:
        """The instance that it waited for runs now, or cannot."""
        if self.is_over:
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
        self.upstream = None
        if self.phase is not TUNNEL:
            self._trouble = detail
            self.front.failed(self)
        self._account()
        if self._wraps or self.phase is TUNNEL or not self.request.http_10:
            self.transport.close()  # its missing end tells the client
        else:
            self.transport.abort()

    def switched(self, response: Response, first: bytes) -> None:
        self.status = response.status
        self.phase = TUNNEL
        self.deadline = NEVER
        if self.route:
            self.front.counters.websocket(self.route.id, 1)
        self.transport.write(
            b"%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n%b"
            % (response.lines, response.upgrade, first)
        )
        data, self.data = self.data, b""
        if data:
            self.upstream.transport.write(data)  # type: ignore[union-attr]
        self.resume_reading()

    def ended_by_upstream(self) -> None:
        self._upstream_ended = True
        self._end_half(self.transport)

    def _end_half(self, transport: Any) -> None:
        """One side of the tunnel has ended; the other may still speak."""
        if self.half_closed and self._upstream_ended:
            self.transport.close()
        else:
            transport.write_eof()

    # What the gateway says itself

    def answer(self, problem: Problem) -> None:
        if problem.closes:
            self.keep_alive = False
        if self.request.wants_html:
            kind, body = b"text/html; charset=utf-8", problems.as_html(problem)
        else:
            kind, body = b"application/problem+json", problems.as_json(problem)
        self.reply(problem.status, kind, body, problem.headers, lingers=problem.closes)

    def reply(
        self, status: int, kind: bytes, body: bytes, lines: bytes = b"", *, lingers: bool = False
    ) -> None:
        """Answer without any target."""
        if self.is_over:
            return
        self.status = status
        self._sent_bytes = len(body)
        if not self.sent_completely or self.front.is_draining:
            self.keep_alive = False
        self.transport.write(
            b"HTTP/1.1 %d %b\r\n%bContent-Type: %b\r\nContent-Length: %d\r\n"
            b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
            b"X-Kato-Gateway: %b\r\nX-Request-Id: %b\r\n%b%b\r\n%b"
            % (
                status,
                HTTPStatus(status).phrase.encode(),
                self.front.date_line,
                kind,
                len(body),
                self.front.identity.encode(),
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
        if self.half_closed:
            self.transport.close()
        elif self.keep_alive:
            self.phase = HEAD
            self.next_request()
        elif lingers or self.data or not self.sent_completely:
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        self.phase = LINGER
        self._linger_until = self.front.now + _LONGEST_LINGER_S
        self.linger_on()
        self.data = b""
        self.transport.write_eof()
        self.resume_reading()

    @property
    def may_linger(self) -> bool:
        return self.front.now < self._linger_until

    def linger_on(self) -> None:
        """It still sends what nobody reads, or still takes its answer."""
        self.deadline = min(self.front.now + _LINGER_S, self._linger_until)

    def _account(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._leave()
            if self.phase is TUNNEL and self.route:
                self.front.counters.websocket(self.route.id, -1)
            self.front.account(
                self,
                status=self.status,
                sent_bytes=self._sent_bytes,
                seconds=perf_counter() - self._begun_at,
                trouble=self._trouble,
            )
