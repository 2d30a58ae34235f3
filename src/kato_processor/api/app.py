"""The whole application: routes, what surrounds every request, start and stop.

Starlette without FastAPI: FastAPI's import alone takes longer than everything else a processor
does before its first answer (measured 0.40 s of 0.48 s).
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from kato_processor.api import sessions
from kato_processor.api.context import Context, context_of
from kato_processor.api.replies import Refused, Reply, session_not_found
from kato_processor.api.routes import ROUTES, UNLISTED
from kato_processor.api.surroundings import LOG, Failures, Surroundings, named, session_of
from kato_processor.environment import ProcessSettings
from kato_processor.monitor import Monitor
from kato_processor.nodes import Nodes
from kato_processor.processor import Processor
from kato_processor.sessions import open_sessions
from kato_processor.settings import InvalidSettings
from kato_sessions.errors import SessionError


class _Text(Convertor[str]):
    """Any text: Starlette's own `path` ends at a newline, which a symbol may hold."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _Text())


def create_app(settings: ProcessSettings) -> Starlette:
    """An application with its stores open; it closes them when it stops. Raises SessionError."""
    monitor = Monitor(cache_s=settings.metrics_cache_s)
    processor = Processor(settings, open_sessions(settings), Nodes(settings.data_dir))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        context = app.state.context = Context(processor, monitor)
        tending = asyncio.create_task(context.tend())
        try:
            yield
        finally:
            tending.cancel()
            context.close()

    return Starlette(
        routes=_routes(),
        lifespan=lifespan,
        middleware=[
            Middleware(Surroundings, monitor=monitor, instance_id=settings.instance_id),
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_credentials=True,
                allow_methods=["*"],
                allow_headers=["*"],
            ),
            Middleware(Failures),
        ],
        exception_handlers=_HANDLERS,
    )


def _routes() -> list[Route | WebSocketRoute]:
    methods: dict[str, dict[str, Any]] = {}
    for route in (*ROUTES, *UNLISTED):
        methods.setdefault(route.path, {})[route.method] = route.handler
    return [
        *(
            Route(path, _by_method(handlers), methods=list(handlers))
            for path, handlers in methods.items()
        ),
        WebSocketRoute("/ws/events", _events),
        WebSocketRoute("/ws", _events),
    ]


def _by_method(handlers: dict[str, Any]) -> Any:
    if "GET" in handlers:
        handlers.setdefault("HEAD", handlers["GET"])

    async def handler(request: Request) -> Any:
        return await handlers[request.method](request)

    return handler


async def _events(socket: WebSocket) -> None:
    context: Context = socket.app.state.context
    active = await context.run(context.processor.sessions.count)
    await context.events.attend(socket, active)


async def _answer_refusal(_request: Request, error: Refused) -> Reply:
    return Reply(error.body, status_code=error.status)


async def _answer_invalid_settings(request: Request, error: InvalidSettings) -> Reply:
    return await _answer_refusal(request, sessions.invalid_settings(error))


async def _answer_http_error(request: Request, error: HTTPException) -> Reply:
    """Unknown path or method; below an unknown session that is the session's own 404."""
    found = session_of(request.url.path)
    if found and error.status_code in (404, 405):
        session_id, _ = found
        context = context_of(request)
        if not await context.run(context.processor.sessions.exists, session_id):
            return await _answer_refusal(request, session_not_found(session_id))
    return Reply({"detail": error.detail}, status_code=error.status_code, headers=error.headers)


async def _answer_store_failure(request: Request, error: SessionError | sqlite3.Error) -> Reply:
    """A store that cannot be reached or written, such as a full disk."""
    LOG.error("%s refused: %s", named(request.scope), error)
    return Reply({"detail": str(error)}, status_code=503)


async def _answer_nobody(_request: Request, _error: ClientDisconnect) -> Response:
    """The client left before its body was whole: its affair, not a failure."""
    return Response(status_code=400)


_HANDLERS: Any = {
    ClientDisconnect: _answer_nobody,
    Refused: _answer_refusal,
    InvalidSettings: _answer_invalid_settings,
    HTTPException: _answer_http_error,
    SessionError: _answer_store_failure,
    sqlite3.Error: _answer_store_failure,
}
