"""Errors of sessions as answers: RFC 9457 fields, `code`, and the processor's `error` object."""

from typing import Any

from fastapi import FastAPI, Request, Response

from kato_manager.gateway.api.errors import answer
from kato_manager.gateway.problems import Problem
from kato_manager.gateway.sessions.attached import InstanceRefused
from kato_sessions.errors import SessionError, SessionNotFound

_STATUS = {
    "session_exists": 409,
    "version_conflict": 409,
    "session_limit": 429,
    "session_invalid": 422,
    "store_unavailable": 503,
    "record_corrupt": 500,
    "session_sealed": 503,
}
_WHY = {
    "session_unknown": "no session has this id",
    "session_expired": "it has expired: create a new one",
    "session_deleted": "it was deleted: create a new one",
}


def problem_of(error: SessionError) -> Problem:
    if isinstance(error, SessionNotFound):
        return not_found(error.session_id, error.code)
    status = _STATUS.get(error.code, 500)
    return Problem(status=status, code=error.code, detail=str(error), hint=error.hint)


def not_found(session_id: str, code: str = "session_unknown") -> Problem:
    """404 in the guide's words; the `error` object is the processor's."""
    return Problem(
        status=404,
        code=code,
        detail="Session not found",
        hint=_WHY.get(code, f"kato sessions restore {session_id}"),
        members={"session_id": session_id},
        error={
            "code": "SESSION_NOT_FOUND",
            "message": f"Session {session_id} not found or expired",
            "session_id": session_id,
        },
    )


def session_error(_request: Request, error: Any) -> Response:
    return answer(problem_of(error))


def refused(_request: Request, error: Any) -> Response:
    """What the instance refused, in its own bytes."""
    said = error.answer
    media_type = dict(said.headers).get("content-type", "application/json")
    return Response(said.body, said.status, media_type=media_type)


def install(app: FastAPI) -> None:
    """Let the app answer both kinds of error in these forms."""
    app.add_exception_handler(SessionError, session_error)
    app.add_exception_handler(InstanceRefused, refused)
