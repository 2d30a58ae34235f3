"""JSON in and out, and the error bodies of the contract (1.1)."""

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator

Json = dict[str, Any]
MAX_BODY_BYTES = 64 * 2**20
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,15}\s*")
Schema = Callable[[], "SchemaValidator"]


class Reply(Response):
    """JSON; NaN and infinities become null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        from pydantic_core import to_json

        return to_json(content, inf_nan_mode="null")


class Refused(Exception):
    """Ends a request with this status and body."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


def refused(status: int, detail: Any) -> Refused:
    return Refused(status, {"detail": detail})


def session_not_found(session_id: str) -> Refused:
    error = {
        "code": "SESSION_NOT_FOUND",
        "message": f"Session {session_id} not found or expired",
        "session_id": session_id,
    }
    return Refused(404, {"error": error})


async def sent(request: Request) -> Any:
    """The JSON value of the body, whatever its content type says.

    Raises Refused: 422 where it is not JSON, 413 where it is larger than any use.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise refused(413, f"Request body larger than {MAX_BODY_BYTES} bytes")
    return parsed(bytes(body))


def parsed(body: bytes) -> Any:
    """The JSON value of a text; raises Refused with 422."""
    if not body:
        raise _invalid({"type": "missing", "loc": ["body"], "msg": "Field required", "input": None})
    from pydantic_core import from_json

    try:
        return from_json(body)
    except ValueError as error:
        raise _invalid(_json_problem(body, str(error))) from error


def _json_problem(body: bytes, problem: str) -> Json:
    place = 0
    try:
        json.loads(body)
    except json.JSONDecodeError as error:
        place, problem = error.pos, error.msg
    except (ValueError, RecursionError):
        pass  # not UTF-8, or nested too deep: the first parser's words stand
    return {
        "type": "json_invalid",
        "loc": ["body", place],
        "msg": "JSON decode error",
        "input": {},
        "ctx": {"error": problem},
    }


def validated(schema: Schema, value: Any) -> Any:
    """The value in the schema's form; raises Refused with every problem."""
    from pydantic_core import ValidationError

    try:
        return schema().validate_python(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=True)
        raise _invalid(*(_located(problem) for problem in problems)) from None


def _located(problem: Mapping[str, Any]) -> Json:
    return {**problem, "loc": ["body", *problem["loc"]]}


def _invalid(*problems: Json) -> Refused:
    return refused(422, list(problems))


def query_int(request: Request, name: str, default: int) -> int:
    """An integer of the query string; raises Refused with 422."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if _WHOLE.fullmatch(text):
        return int(text)
    raise _invalid(
        {
            "type": "int_parsing",
            "loc": ["query", name],
            "msg": "Input should be a valid integer, unable to parse string as an integer",
            "input": text,
        }
    )
