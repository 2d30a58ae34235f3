"""What surrounds every request: trace, session and instance headers, counting, failures."""

import logging
import re
import time
from urllib.parse import quote
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kato_processor.monitor import Monitor

LOG = logging.getLogger("kato_processor")
_BELOW_A_SESSION = re.compile(r"/sessions/([^/]+)(/.*)?", re.DOTALL)
_LOOKING = ("GET", "HEAD")


def session_of(path: str) -> tuple[str, str] | None:
    """The session whose path this is, known or not, and what follows its id."""
    found = _BELOW_A_SESSION.fullmatch(path)
    if not found or path == "/sessions/count":
        return None
    return found[1], found[2] or ""


def named(scope: Scope) -> str:
    """A request as the log names it: one line, whatever its path."""
    return f"{scope['method']} {quote(scope['path'])}"


_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


class Surroundings:
    """Outermost middleware. Source of the headers: KATO contract 1.1."""

    def __init__(self, app: ASGIApp, *, monitor: Monitor, instance_id: str) -> None:
        self._app = app
        self._monitor = monitor
        # A header holds no more than Latin-1, an id any character: what is not ASCII is escaped.
        self._instance_id = quote(instance_id, safe=_PRINTABLE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500
        scope["trace"] = _trace(scope)
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
            took_s = time.perf_counter() - began
            self._monitor.answered(status, took_s)
            if LOG.isEnabledFor(logging.DEBUG):
                ms = took_s * 1000
                LOG.debug("%s %d in %.1f ms, trace %s", named(scope), status, ms, scope["trace"])

    def _headers(self, scope: Scope) -> dict[str, str]:
        headers = {"X-Trace-ID": scope["trace"]}
        if self._instance_id:
            headers["X-Kato-Instance"] = self._instance_id
        session_id = _shown_session(scope)
        if session_id:
            headers["X-Session-ID"] = session_id
        return headers


class Failures:
    """Innermost middleware: what nobody expected is logged, and the client can name it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception:
            if scope["type"] != "http":
                raise
            LOG.exception("%s failed, trace %s", named(scope), scope["trace"])
            await PlainTextResponse("Internal Server Error", 500)(scope, receive, send)


def _trace(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-trace-id"), None)
    return given.decode("latin-1") if given else f"kato-{uuid4().hex}"


def _shown_session(scope: Scope) -> str | None:
    """The session of a session-scoped path, except where its record is only looked at."""
    found = session_of(scope["path"])
    if not found:
        return None
    session_id, rest = found
    if rest in ("/", "/exists") or (not rest and scope["method"] in _LOOKING):
        return None
    return session_id if session_id.isascii() and session_id.isprintable() else None
