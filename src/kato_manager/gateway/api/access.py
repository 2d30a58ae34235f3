"""Who may do what: reading is free on this machine, changes need the token, and so does all else.

The Unix socket belongs to the user alone, so whoever is directly on it may do everything. A front
adds the peer's address to X-Forwarded-For; what stands before it is the client's own word and can
only take rights away: every address has to be of this machine.
"""

import ipaddress

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from kato_manager.gateway import token
from kato_manager.gateway.api.errors import answer
from kato_manager.gateway.problems import Problem

GUARDED = frozenset({"api", "metrics", "status", "events", "experiments"})
INTERNAL = "internal"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Access:
    """ASGI middleware; `expected` is the token."""

    def __init__(self, app: ASGIApp, expected: str) -> None:
        self._app = app
        self._expected = expected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            problem = check(HTTPConnection(scope), self._expected)
            if problem:
                await answer(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def check(request: HTTPConnection, expected: str) -> Problem | None:
    """The refusal of a request, if it is one."""
    word = request.url.path.split("/")[1]
    if word == INTERNAL and not is_direct(request):
        return Problem(status=404, code="not_found", detail="there is nothing here")
    if word not in GUARDED or may_change(request, expected):
        return None
    method = request.scope.get("method", "GET")
    if "authorization" in request.headers:
        return _refusal("token_wrong", "the token is not the one of this gateway")
    if method in _READING and is_local(request):
        return None
    why = "a change" if is_local(request) else "a request from another machine"
    return _refusal("token_required", f"{why} needs the token of this gateway")


def may_change(request: HTTPConnection, expected: str) -> bool:
    """On the socket itself, or with the token."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    has_token = scheme.lower() == "bearer" and token.is_right(given.strip(), expected)
    return has_token or is_direct(request)


def is_direct(request: HTTPConnection) -> bool:
    """Not by way of a front."""
    return "x-forwarded-for" not in request.headers


def is_local(request: HTTPConnection) -> bool:
    """Every hop was on this machine."""
    hops = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    return all(map(_is_loopback, hops))


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address.strip())
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def _refusal(code: str, detail: str) -> Problem:
    return Problem(
        status=401,
        code=code,
        detail=detail,
        hint="Authorization: Bearer TOKEN, see $KATO_HOME/gateway/token on its machine",
    )
