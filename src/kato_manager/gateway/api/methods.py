"""What can be done at a path (RFC 9110, 9.3): HEAD wherever GET is, and Allow for the rest."""

from fastapi import Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
_PARTS_OF_A_CALL = 4  # "", "sessions", the id, and what the instance is asked


class Heads:
    """ASGI middleware: HEAD is GET up to the head of the answer, also of one without end.

    What instances are asked is passed to them as it is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or _is_call(scope["path"]):
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body"})

        await self._app({**scope, "method": "GET"}, receive, send_head)


def _is_call(path: str) -> bool:
    parts = path.split("/", _PARTS_OF_A_CALL)
    return parts[1] == "sessions" and len(parts) >= _PARTS_OF_A_CALL


def allowed(request: Request) -> str:
    """The methods of a path, as Allow has them."""
    found = [method for method in _METHODS if _is_served(request, method)]
    return ", ".join([*found, *(["HEAD"] if "GET" in found else []), "OPTIONS"])


def _is_served(request: Request, method: str) -> bool:
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
