"""What a request says beside its body: the session in its path, what is behind it, a version."""

from urllib.parse import unquote

from fastapi import Request

from kato_manager.gateway.problems import Problem
from kato_manager.gateway.sessions import bodies, failures
from kato_sessions.errors import InvalidSession
from kato_sessions.model import DEFAULT_ID, checked_id


def one_segment(request: Request) -> None:
    """No session is called `a/b`: with its slash encoded it would be taken for one called `a`."""
    if "session_id" not in request.path_params:
        return
    named = unquote(request.scope["raw_path"].split(b"?")[0].split(b"/")[2])
    if named != request.path_params["session_id"]:
        raise failures.not_found(named)


def checked(request: Request, session_id: str) -> str:
    """The id of the path; 404 for what no session can be called, 400 if a header contradicts."""
    if not is_id(session_id):
        raise failures.not_found(session_id)
    bodies.named_session(request, {}, session_id)
    return session_id


def is_id(session_id: str) -> bool:
    try:
        checked_id(session_id)
    except InvalidSession:
        return session_id == DEFAULT_ID
    return True


def expected_version(request: Request) -> int | None:
    """The version that `If-Match` names."""
    given = request.headers.get("if-match", "*").strip().removeprefix("W/").strip('"')
    if given == "*":
        return None
    if not (given.isascii() and given.isdigit()):
        raise Problem(status=400, code="bad_request", detail=f"If-Match: {given!r} is no version")
    return int(given)


def raw_rest(request: Request) -> str:
    """What stands behind the session in the path, as it was sent, with the query."""
    raw: bytes = request.scope["raw_path"]
    rest = raw.split(b"?")[0].split(b"/", 3)[3].decode("latin-1")
    query_string = request.scope["query_string"].decode("latin-1")
    return f"{rest}?{query_string}" if query_string else rest
