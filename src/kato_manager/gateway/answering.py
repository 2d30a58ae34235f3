"""The gateway's own answers to a client, and how an exchange ends, whoever answered."""

import asyncio
from enum import Enum, auto
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any

from kato_manager.gateway import problems
from kato_manager.gateway.problems import Problem
from kato_manager.gateway.requests import Request
from kato_manager.gateway.routes import Match, Route

if TYPE_CHECKING:
    from kato_manager.gateway.front import Front
    from kato_manager.gateway.pool import Pool
    from kato_manager.gateway.upstream import Upstream

NEVER = float("inf")
# RFC 9112, 9.6: close in stages, or a reset destroys the answer. The times are nginx's.
_LINGER_S = 5.0  # without a word of the client
_LONGEST_LINGER_S = 30.0


class Phase(Enum):
    """What the next bytes of a client are."""

    HEAD = auto()  # a request, or the rest of its head
    BODY = auto()
    WAIT = auto()  # a later request: it waits until this one is answered
    TUNNEL = auto()
    LINGER = auto()  # nothing anybody reads


# Looking a member up in its class takes longer than a stat does, and a request does it ten times.
HEAD, BODY, WAIT, TUNNEL, LINGER = Phase


class Answering(asyncio.Protocol):
    """What a client's connection knows of its exchange: it has one at a time, one after the other.

    `exchange.ClientExchange` adds what targets answer, `forward.Client` the reading.
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

    def resume_reading(self) -> None:
        raise NotImplementedError

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

    def _connection_line(self) -> bytes:
        if not self.keep_alive:
            return b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if self.request.http_10 else b""

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
