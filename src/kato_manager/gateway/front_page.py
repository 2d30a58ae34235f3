"""What a front says without asking anybody: who it is, and what there is."""

import json
import os
from html import escape
from typing import Any

from kato_manager.gateway import problems
from kato_manager.gateway.requests import Request
from kato_manager.gateway.routes import Group, Match, Route, RouteTable

Page = tuple[int, bytes, bytes]  # status, content type, body


def own_answer(request: Request, match: Match, table: RouteTable, identity: str) -> Page | None:
    """The answer to `/` and `/health`; None for paths that are not the front's."""
    path = match.path.partition(b"?")[0]
    if path == b"/health":
        return _json({"status": "ok", "gateway": identity, "pid": os.getpid()})
    if path not in {b"/", b"*"}:
        return None
    targets = list(table)
    if request.wants_html:
        return 200, b"text/html; charset=utf-8", _page(targets)
    return _json(
        {
            "gateway": identity,
            "instances": [_described(one) for one in targets if isinstance(one, Route)],
            "groups": [_described(one) for one in targets if isinstance(one, Group)],
        }
    )


def _json(body: dict[str, Any]) -> Page:
    return 200, b"application/json", json.dumps(body, ensure_ascii=False).encode() + b"\n"


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
