"""What requests may say, under every name that the guides use for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from kato_manager.gateway.problems import Problem

_HOUR_S = 3600
_LONGEST_S = 10 * 365 * 86_400
_ID_HEADERS = ("session-id", "x-session-id")
_ID_NAMES = ("session_id", "thread_id")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session as asked for; None = not said."""

    session_id: str | None = None
    node_id: str | None = None
    user_id: str | None = None
    config: Json | None = None
    metadata: Json = field(default_factory=dict)
    ttl_s: int | None = None
    max_life_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A query or a chat message, and in whose session."""

    text: str
    session_id: str | None = None
    user_id: str | None = None
    agent_type: str | None = None
    parameters: Json = field(default_factory=dict)


def new_session(request: Request, body: Json) -> NewSession:
    """Raises `Problem` naming what is wrong."""
    return NewSession(
        session_id=named_session(request, body),
        node_id=_text(body, "node_id"),
        user_id=_text(body, "user_id"),
        config=_object(body, "config"),
        metadata=_object(body, "metadata") or {},
        ttl_s=ttl_s(body) or None,
        max_life_s=_seconds(body, "max_duration_hours", _HOUR_S) or None,
    )


def ttl_s(body: Json) -> int | None:
    """The TTL under any of its names; None = not said."""
    names = (("ttl", 1), ("ttl_seconds", 1), ("idle_timeout_hours", _HOUR_S))
    given = (_seconds(body, name, unit_s) for name, unit_s in names)
    return next((found for found in given if found is not None), None)


def question(request: Request, body: Json, *names: str) -> Question:
    """A text under one of `names`, in the body or, as simple clients do, in the query string."""
    given = {**request.query_params, **body}
    text = next((found for name in names if (found := _text(given, name)) is not None), None)
    if text is None:
        raise invalid(f"{names[0]}: say what you ask, as text")
    return Question(
        text=text,
        session_id=named_session(request, body),
        user_id=_text(given, "user_id"),
        agent_type=_text(given, "agent_type"),
        parameters=_object(body, "parameters") or {},
    )


def config_changes(body: Json) -> Json:
    """Wrapped in `config`, or flat."""
    return (_object(body, "config") or {}) if "config" in body else body


def named_session(request: Request, body: Mapping[str, Any], path_id: str = "") -> str | None:
    """The id from path, header, query string or body; 400 when two of them differ."""
    found = [path_id, *(request.headers.get(name, "") for name in _ID_HEADERS)]
    found += [request.query_params.get(name, "") for name in _ID_NAMES]
    found += [_text(body, name) or "" for name in _ID_NAMES]
    given = list(dict.fromkeys(filter(None, found)))
    if len(given) > 1:
        raise Problem(
            status=400,
            code="session_ambiguous",
            detail=f"the request names several sessions: {', '.join(given)}",
            hint="name one, in the path, the header session-id, the query string or the body",
        )
    return given[0] if given else None


def invalid(detail: str) -> Problem:
    return Problem(
        status=422, code="session_invalid", detail=detail, members={"problems": [detail]}
    )


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise invalid(f"{name}: {value!r} is no text")
    return value


def _object(body: Mapping[str, Any], name: str) -> Json | None:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise invalid(f"{name}: {value!r} is no object")
    return value


def _seconds(body: Mapping[str, Any], name: str, unit_s: int) -> int | None:
    """A duration of 0 (= the default) or more; fractions of hours are fine."""
    value = body.get(name)
    if value is None:
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value) * unit_s
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST_S:
        raise invalid(f"{name}: {value!r} is no time of 0 to {_LONGEST_S // unit_s}")
    return math.ceil(seconds)
