"""Requests of the gateway's own to instances, over the connections that the front uses too."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from kato_manager.gateway import requests
from kato_manager.gateway.counters import Counters
from kato_manager.gateway.limits import Limits
from kato_manager.gateway.pool import Pool
from kato_manager.gateway.problems import Problem
from kato_manager.gateway.responses import Response
from kato_manager.gateway.sessions.asking import Asking, Unanswered, Upload
from kato_manager.model import Instance

ANSWER_S = 300.0
_OK = range(200, 300)
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an instance said; `headers` have lower-case names, hop-by-hop ones are gone."""

    status: int
    headers: Headers
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
    """Pooled connections, a pool for each port. Belongs to one event loop.

    Whatever is in flight to an instance is counted, as a front counts it, and only then `check`
    says whether the instance takes requests: who stops it waits for all that was let through.
    """

    def __init__(
        self, counters: Counters, check: Callable[[str], None], limits: Limits | None = None
    ) -> None:
        self._counters = counters
        self._check = check
        self._limits = limits or Limits()
        self._pools: dict[int, Pool] = {}

    async def call(
        self,
        instance: Instance,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Headers = (),
    ) -> Answer:
        """Ask, and read the whole answer; raises `Problem` when there is none."""
        exchange = self.exchange(instance, method, path, body, headers=headers)
        try:
            async with asyncio.timeout(ANSWER_S), exchange as asking:
                return await whole(asking)
        except TimeoutError:
            late = Unanswered(f"no answer within {ANSWER_S:g} s", sent=True)
            raise _no_answer(instance, late) from None
        except Unanswered as error:
            raise _no_answer(instance, error) from error

    @asynccontextmanager
    async def exchange(
        self,
        instance: Instance,
        method: str,
        path: str,
        content: bytes | Upload = b"",
        *,
        headers: Headers = (),
    ) -> AsyncIterator[Asking]:
        """Ask; the answer's head has come, its body is to be read inside.

        `path` is raw, with its query. Raises `Problem` when there is no answer. A request is sent
        again only if nothing of it was sent, or if it is a safe one.
        """
        began_s, status, asking = time.perf_counter(), 0, None
        self._counters.in_flight(instance.id, 1)
        try:
            self._check(instance.id)
            asking = await self._answered(instance, method, path, content, headers)
            status = asking.response.result().status
            yield asking
        except Unanswered as error:
            self._counters.failed(instance.id)
            if asking is None:
                raise _no_answer(instance, error) from error
            raise
        finally:
            if asking is not None:
                asking.leave()
            self._counters.in_flight(instance.id, -1)
            self._counters.end(
                instance.id,
                status=status,
                seconds=time.perf_counter() - began_s,
                sent_bytes=0 if asking is None else asking.received_bytes,
            )

    async def _answered(
        self, instance: Instance, method: str, path: str, content: bytes | Upload, headers: Headers
    ) -> Asking:
        body, upload = (content, None) if isinstance(content, bytes) else (b"", content)
        head = _head(method, path, upload.length if upload else len(body), headers)
        request = requests.parse(head)
        try:
            return await self._once(instance.port, Asking(request, head + body, upload))
        except Unanswered as first:
            if first.sent and not request.is_safe:
                raise
        return await self._once(instance.port, Asking(request, head + body, upload))

    async def _once(self, port: int, asking: Asking) -> Asking:
        pool = self._pool(port)
        pool.close_idle(before=_now() - self._limits.idle_upstream_s)
        upstream = pool.take()
        if upstream:
            asking.connected(upstream)
        else:
            pool.connect(asking)
        try:
            await asking.response
        except BaseException:
            asking.leave()
            raise
        return asking

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


async def whole(asking: Asking) -> Answer:
    """The answer, read to its end; raises `Unanswered`."""
    response = asking.response.result()
    return Answer(status=response.status, headers=header_pairs(response), body=await asking.whole())


def header_pairs(response: Response) -> Headers:
    """Its headers, with lower-case names."""
    split = (line.partition(b":") for line in response.lines.split(b"\r\n")[1:] if line)
    return tuple(
        (name.decode("latin-1").lower(), value.strip().decode("latin-1"))
        for name, _, value in split
    )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _head(method: str, path: str, length: int | None, headers: Headers) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers]
    if length is None:
        lines.append("transfer-encoding: chunked")
    elif length or method not in {"GET", "HEAD", "DELETE"}:
        lines.append(f"content-length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _no_answer(instance: Instance, error: Unanswered) -> Problem:
    return Problem(
        status=502 if error.sent else 503,
        code="instance_unreachable",
        detail=f"instance {instance.id!r} did not answer: {error}",
        hint=f"kato status {instance.id}",
        retry_after_s=None if error.sent else 1,
        members={"instance": instance.id},
    )
