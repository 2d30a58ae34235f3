"""Requests for an instance that starts on demand are held while the control process starts it."""

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from kato_manager.gateway.grammar import HEAD_END
from kato_manager.gateway.problems import Problem
from kato_manager.gateway.routes import Route, unavailable

if TYPE_CHECKING:
    from kato_manager.gateway.exchange import ClientExchange

_ANSWER_BYTES = 64 * 1024


class Hold:
    """Asks once for an instance, however many requests wait for it here.

    The control process answers `POST /internal/wake/<id>` with 2xx when the registry says that the
    instance runs, else with a problem that those who wait get as theirs.
    """

    def __init__(self, control_path: Path, *, wake_s: float) -> None:
        self._control_path = os.fspath(control_path)
        self._wake_s = wake_s
        self._waiting: dict[str, list[ClientExchange]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, client: "ClientExchange", route: Route) -> None:
        """Keep the request until its instance runs, or cannot."""
        if route.id in self._waiting:
            self._waiting[route.id].append(client)
            return
        self._waiting[route.id] = [client]
        task = asyncio.get_running_loop().create_task(self._wake(route))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wake(self, route: Route) -> None:
        try:
            async with asyncio.timeout(self._wake_s):
                problem = await self._ask(route)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            problem = unavailable(route)
            problem.detail += ", and the control process that would start it does not answer"
        for client in self._waiting.pop(route.id):
            client.woken(problem)

    async def _ask(self, route: Route) -> Problem | None:
        reader, writer = await asyncio.open_unix_connection(self._control_path)
        try:
            path = f"/internal/wake/{quote(route.id, safe='')}"
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            head = await reader.readuntil(HEAD_END)
            status = int(head[9:12])
            if status < 300:  # noqa: PLR2004
                return None
            return _problem(route, status, await reader.read(_ANSWER_BYTES))
        finally:
            writer.close()


def _problem(route: Route, status: int, body: bytes) -> Problem:
    said = json.loads(body)
    return Problem(
        status=status,
        code=said.get("code", "instance_not_running"),
        detail=said.get("detail", unavailable(route).detail),
        hint=said.get("hint", ""),
        retry_after_s=5,
        members={"instance": route.id},
    )
