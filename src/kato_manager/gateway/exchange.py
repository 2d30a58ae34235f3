"""One request of a client, and what its target does with it."""

from typing import TYPE_CHECKING, Any

from kato_manager.gateway import rewrite
from kato_manager.gateway.answering import BODY, NEVER, TUNNEL, Answering
from kato_manager.gateway.problems import Problem
from kato_manager.gateway.requests import upstream_head
from kato_manager.gateway.responses import UNTIL_EOF, Response

if TYPE_CHECKING:
    from kato_manager.gateway.upstream import Upstream

_NO_CONTENT = 204


class ClientExchange(Answering):
    """What the target's side says; `forward.Client` is what the client's side says."""

    def read_body(self, data: bytes) -> None:
        """Pass on a part of the request's body."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        raise NotImplementedError

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
