"""What surrounds every request: trace, session and instance headers, counting, failures."""

import re
import time
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kato_processor.monitor import Monitor

_SCOPED = re.compile(r"^/sessions/(?!count$)([^/]+)/(?!exists$).+|^/sessions/(?!count$)([^/]+)$")


class Surroundings:
    """Outermost middleware. Source of the headers: KATO contract 1.1."""

    def __init__(self, app: ASGIApp, *, monitor: Monitor, instance_id: str) -> None:
        self._app = app
        self._monitor = monitor
        self._instance_id = instance_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500
        headers = self._headers(scope)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(headers)
            await send(message)

        self._monitor.arrived()
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._monitor.answered(status, time.perf_counter() - began)

    def _headers(self, scope: Scope) -> dict[str, str]:
        trace = next((v for k, v in scope["headers"] if k == b"x-trace-id"), None)
        headers = {"X-Trace-ID": trace.decode("latin-1") if trace else f"kato-{uuid4().hex}"}
        if self._instance_id:
            headers["X-Kato-Instance"] = self._instance_id
        session_id = _session_id(scope)
        if session_id:
            headers["X-Session-ID"] = session_id
        return headers


def _session_id(scope: Scope) -> str | None:
    """The session of a session-scoped path, except where its record is only looked at."""
    found = _SCOPED.match(scope["path"])
    if not found:
        return None
    session_id = found[1] or (found[2] if scope["method"] != "GET" else None)
    return session_id if session_id and session_id.isascii() and session_id.isprintable() else None
