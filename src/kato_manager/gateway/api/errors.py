"""Errors as answers: status and code of each kind, in the form of `problems`."""

import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from kato_manager import errors
from kato_manager.gateway import problems
from kato_manager.gateway.api import methods
from kato_manager.gateway.problems import Problem

STATUS_CODES: Mapping[type[errors.KatoError], int] = {
    errors.ConfigError: 422,
    errors.InstanceNotFound: 404,
    errors.Conflict: 409,
    errors.RuntimeUnavailable: 503,
    errors.NotReady: 504,
    errors.RegistryLocked: 423,
    errors.StartFailed: 502,
    errors.RegistryReadOnly: 409,
    errors.KatoError: 500,
}
# How OpenAPI shows any error.
DESCRIBED: dict[str, Any] = {
    "description": "A problem (RFC 9457), with a code for programs",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "code", "error"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                    "hint": {"type": "string"},
                    "problems": {"type": "array", "items": {"type": "string"}},
                    "error": {"type": "object"},
                },
            }
        }
    },
}
_NOT_ALLOWED = 405
_RETRY_AFTER_S = {423: 1, 503: 5, 504: 5}


def problem_of(error: errors.KatoError) -> Problem:
    status = next(code for kind, code in STATUS_CODES.items() if isinstance(error, kind))
    found = error.problems if isinstance(error, errors.ConfigError) else ()
    return Problem(
        status=status,
        code=code_of(type(error)),
        detail=error.message,
        hint=error.hint,
        retry_after_s=_RETRY_AFTER_S.get(status),
        members={"problems": list(found)} if found else {},
    )


def code_of(kind: type[errors.KatoError]) -> str:
    """`InstanceNotFound` -> `instance_not_found`: what programs compare."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def answer(problem: Problem) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else {}  # noqa: PLR2004
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    return Response(
        problems.as_json(problem),
        problem.status,
        headers=headers,
        media_type="application/problem+json",
    )


def install(app: FastAPI) -> None:
    """Let the app answer every error in this form."""

    def kato(_request: Request, error: Any) -> Response:
        return answer(problem_of(error))

    def own(_request: Request, error: Any) -> Response:
        return answer(error)

    def system(_request: Request, error: Any) -> Response:
        where = f"{error.filename}: " if error.filename else ""
        said = f"{where}{error.strerror or error}"
        return answer(Problem(status=500, code="system_error", detail=said))

    app.add_exception_handler(errors.KatoError, kato)
    app.add_exception_handler(Problem, own)
    app.add_exception_handler(OSError, system)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)


def _http(request: Request, error: Any) -> Response:
    allow = {"Allow": methods.allowed(request)} if error.status_code == _NOT_ALLOWED else {}
    if allow and request.method == "OPTIONS":
        return Response(status_code=204, headers=allow)
    words = {404: "there is nothing here", 405: f"{request.method} is not possible here"}
    detail = words.get(error.status_code, str(error.detail))
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    made = answer(Problem(status=error.status_code, code=code, detail=detail))
    made.headers.update({**(error.headers or {}), **allow})
    return made


def _invalid(_request: Request, error: Any) -> Response:
    """A parameter that cannot be; bodies are checked by `config`, with its own texts."""
    found = [f"{one['loc'][-1]}: {one['msg']}" for one in error.errors()]
    return answer(
        Problem(
            status=422,
            code="config_error",
            detail="\n".join(found),
            members={"problems": found},
        )
    )
