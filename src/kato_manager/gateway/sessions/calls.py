"""Requests of the gateway's own to instances, over the connections that the front uses too."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from kato_manager.gateway import requests
from kato_manager.gateway.limits import Limits
from kato_manager.gateway.pool import Pool
from kato_manager.gateway.problems import Problem
from kato_manager.gateway.responses import Response
from kato_manager.gateway.upstream import Upstream
from kato_manager.model import Instance

ANSWER_S = 300.0
_OK = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an instance said; `headers` have lower-case names, hop-by-hop ones are gone."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def is_ok(self) -> bool:
        return self.status in _OK

    @property
    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body, parse_constant=lambda _constant: None)
        except ValueError:
            return None


class Caller:
    """Pooled connections, a pool for each port. Belongs to one event loop."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._pools: dict[int, Pool] = {}

    async def call(
        self,
        instance: Instance,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        """Ask; raises `Problem` when there is no answer. `path` is raw, with its query.

        A request is sent again only if nothing of it was sent, or if it is a safe one.
        """
        head = _head(method, path, len(body), headers)
        request = requests.parse(head)
        try:
            return await self._once(instance.port, request, head + body)
        except Unanswered as first:
            if first.sent and not request.is_safe:
                raise _no_answer(instance, first) from first
        try:
            return await self._once(instance.port, request, head + body)
        except Unanswered as error:
            raise _no_answer(instance, error) from error

    async def _once(self, port: int, request: requests.Request, content: bytes) -> Answer:
        pool = self._pool(port)
        pool.close_idle(before=_now() - self._limits.idle_upstream_s)
        call = _Call(request, content)
        upstream = pool.take()
        if upstream:
            call.connected(upstream)
        else:
            pool.connect(call)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await call.answer
        except TimeoutError:
            raise Unanswered(f"no answer within {ANSWER_S:g} s", sent=True) from None
        finally:
            call.leave()

    def _pool(self, port: int) -> Pool:
        if port not in self._pools:
            loop = asyncio.get_running_loop()
            self._pools[port] = Pool(
                lambda new: loop.create_connection(new, "127.0.0.1", port),
                limits=self._limits,
                clock=_now,
            )
        return self._pools[port]

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()


class Unanswered(Exception):
    """Why there is no answer, and whether the instance may have done what was asked."""

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.sent = sent


class _Call:
    """The asking side of one exchange: collects the whole answer."""

    sent_completely = True
    takes_chunks = False

    def __init__(self, request: requests.Request, content: bytes) -> None:
        self.request = request
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._content = content
        self._upstream: Upstream | None = None
        self._response: Response | None = None
        self._parts: list[bytes] = []

    def connected(self, upstream: Upstream) -> None:
        if self.answer.done():
            upstream.abort()  # nobody waits any more
            return
        self._upstream = upstream
        upstream.send(self, self._content)

    def responded(self, response: Response, length: int, first: bytes) -> None:  # noqa: ARG002
        self._response = response
        self._parts.append(first)

    def passed(self, part: bytes) -> None:
        self._parts.append(part)

    def interim(self, head: bytes) -> None:
        """100 and the like: the body is under way already."""

    def switched(self, response: Response, first: bytes) -> None:  # noqa: ARG002
        self.broke_off("it switches protocols unasked")

    def finished(self) -> None:
        self._upstream = None
        response = self._response
        if response and not self.answer.done():
            self.answer.set_result(
                Answer(
                    status=response.status,
                    headers=_pairs(response.lines),
                    body=b"".join(self._parts),
                )
            )

    def ended_by_upstream(self) -> None:
        self.broke_off("it closed the connection")

    def failed(self, detail: str, *, sent: bool) -> None:
        self._upstream = None
        if not self.answer.done():
            self.answer.set_exception(Unanswered(detail, sent=sent))

    def broke_off(self, detail: str) -> None:
        self.failed(detail, sent=True)

    def pause_reading(self) -> None:
        """Requests are sent whole: there is nothing to pause."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    def leave(self) -> None:
        """Nobody waits any more: what is unfinished ends."""
        if self._upstream:
            self._upstream.cancel()
            self._upstream = None
        self.answer.cancel()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _head(method: str, path: str, length: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers]
    if length or method not in {"GET", "HEAD", "DELETE"}:
        lines.append(f"content-length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _pairs(lines: bytes) -> tuple[tuple[str, str], ...]:
    """Header lines behind a status line."""
    split = (line.partition(b":") for line in lines.split(b"\r\n")[1:] if line)
    return tuple(
        (name.decode("latin-1").lower(), value.strip().decode("latin-1"))
        for name, _, value in split
    )


def _no_answer(instance: Instance, error: Unanswered) -> Problem:
    return Problem(
        status=502 if error.sent else 503,
        code="instance_unreachable",
        detail=f"instance {instance.id!r} did not answer: {error}",
        hint=f"kato status {instance.id}",
        retry_after_s=None if error.sent else 1,
        members={"instance": instance.id},
    )
