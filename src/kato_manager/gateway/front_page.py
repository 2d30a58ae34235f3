"""What a front says without asking anybody: who it is, and what there is."""

import json
import os
from collections.abc import Iterable
from html import escape
from typing import Any

from kato_manager.gateway import problems
from kato_manager.gateway.problems import Problem
from kato_manager.gateway.requests import Request
from kato_manager.gateway.routes import Group, Match, Route, RouteTable

Page = tuple[int, bytes, bytes, bytes]  # status, content type, body, more header lines
_METHODS = b"GET, HEAD, OPTIONS"


def own_answer(request: Request, match: Match, table: RouteTable, identity: str) -> Page | None:
    """The answer to `/` and `/health`; None for paths that are not the front's.

    Raises `Problem` for a method that is not for reading.
    """
    path = match.path.partition(b"?")[0]
    if path not in {b"/health", b"/", b"*"}:
        return None
    if request.method not in _METHODS.split(b", "):
        raise Problem(
            status=405,
            code="method_not_allowed",
            detail=f"{request.method.decode()} is not possible here",
            allow=_METHODS,
        )
    targets = list(table)
    if request.wants_html and path != b"/health":
        kind, body = b"text/html; charset=utf-8", _page(targets)
    else:
        said = _health(identity) if path == b"/health" else _overview(targets, identity)
        kind, body = b"application/json", json.dumps(said, ensure_ascii=False).encode() + b"\n"
    return 200, kind, body, b"Allow: %b\r\n" % _METHODS if request.method == b"OPTIONS" else b""


def _health(identity: str) -> dict[str, Any]:
    return {"status": "ok", "gateway": identity, "pid": os.getpid()}


def _overview(targets: Iterable[Route | Group], identity: str) -> dict[str, Any]:
    return {
        "gateway": identity,
        "instances": [_described(one) for one in targets if isinstance(one, Route)],
        "groups": [_described(one) for one in targets if isinstance(one, Group)],
    }


def _page(targets: list[Route | Group]) -> bytes:
    rows = "".join(
        f'<tr><td><a href="{one.prefix.decode()}/">{escape(one.id)}</a></td>'
        f"<td>{one.status if isinstance(one, Route) else 'group'}</td></tr>"
        for one in targets
    )
    none = "<p>No instance yet: <code>kato start --id a</code></p>"
    return problems.page("kato", f"<table>{rows}</table>" if rows else none)


def _described(target: Route | Group) -> dict[str, Any]:
    common = {"id": target.id, "url": f"{target.prefix.decode()}/"}
    if isinstance(target, Group):
        return {**common, "instances": [one.id for one in target.members]}
    return {**common, "status": target.status.value}
