"""Request bodies as plain JSON objects; what they may hold is for `config` to say."""

import json
from typing import Any

from fastapi import Request

from kato_manager.gateway.problems import Problem

MAX_BYTES = 4 * 1024 * 1024


async def read(request: Request, most_bytes: int = MAX_BYTES) -> bytes:
    """The whole body; 413 beyond the limit."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most_bytes:
            raise Problem(
                status=413,
                code="too_large",
                detail=f"the body has more than {most_bytes} bytes",
            )
    return bytes(content)


async def json_object(request: Request) -> dict[str, Any]:
    """A body that is one JSON object; empty counts as an empty one."""
    content = await read(request)
    try:
        value = json.loads(content.decode() or "{}", parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()  # lone surrogates are no text
    except (ValueError, RecursionError) as error:
        raise Problem(
            status=400, code="bad_json", detail=f"the body is no JSON: {error!s:.200}"
        ) from error
    if not isinstance(value, dict):
        raise Problem(status=422, code="config_error", detail="the body has to be a JSON object")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def described(summary: str, example: dict[str, Any]) -> dict[str, Any]:
    """How OpenAPI shows such a body."""
    schema = {"type": "object", "additionalProperties": True, "description": summary}
    return {
        "requestBody": {"content": {"application/json": {"schema": schema, "example": example}}}
    }
