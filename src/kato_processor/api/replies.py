"""JSON in and out, and the error bodies of the contract (1.1)."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from kato_processor.api import bodies

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator

Json = dict[str, Any]
MAX_BODY_BYTES = 64 * 2**20
_LARGEST = 10**15
_MISSING: Json = {"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}
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
    """The JSON value of a text in any Unicode encoding; raises Refused with 422."""
    if not body:
        raise _invalid(_MISSING)
    from pydantic_core import from_json

    try:
        value = from_json(_in_utf8(body))
    except ValueError as error:
        raise _invalid(_json_problem(body, str(error))) from error
    if value is None:
        raise _invalid(_MISSING)
    return value


def _in_utf8(body: bytes) -> bytes:
    encoding = json.detect_encoding(body)
    return body if encoding == "utf-8" else body.decode(encoding).encode()


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


def validated(schema: Schema, value: Any, *, where: Sequence[str] = ("body",)) -> Any:
    """The value in the schema's form; raises Refused with every problem."""
    from pydantic_core import ValidationError

    try:
        return schema().validate_python(value)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise _invalid(*({**found, "loc": [*where, *found["loc"]]} for found in problems)) from None


def _invalid(*problems: Json) -> Refused:
    return refused(422, list(problems))


def query_int(request: Request, name: str, default: int, *, limit: int = _LARGEST) -> int:
    """An integer of the query string, from -limit to limit; raises Refused with 422."""
    text = request.query_params.get(name)
    if text is None:
        return default
    number: int = validated(partial(bodies.integer, limit), text, where=("query", name))
    return number
