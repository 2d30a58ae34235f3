"""The OpenAPI document: KATO's own, and over it the routes and keys that only we have.

So a client generated from either finds the same operations and schemas.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from kato_processor.api.health import API_VERSION
from kato_processor.api.routes import ROUTES, Route
from kato_processor.settings import SETTINGS

Json = dict[str, Any]
_TEXT: Json = {"type": "string"}
_OPTIONAL_TEXT: Json = {"type": ["string", "null"]}
_WHOLE: Json = {"type": "integer"}
_SECONDS: Json = {"type": ["integer", "null"]}
_OBJECT: Json = {"type": "object", "additionalProperties": True}
_KEYS: dict[str, Json] = {
    "CreateSessionRequest": {
        "user_id": _OPTIONAL_TEXT | {"description": "Names the node where node_id is left out"},
        "ttl": _SECONDS | {"description": "The session guide's word for ttl_seconds"},
    },
    "SessionResponse": {
        "user_id": _OPTIONAL_TEXT,
        "last_accessed": {"type": "string", "format": "date-time"},
        "ttl": _SECONDS,
        "remaining_ttl": _SECONDS,
        "auto_extend": {"type": "boolean"},
        "config": _OBJECT,
    },
    "SessionConfigUpdateResponse": {"config": _OBJECT},
    "STMClearedResponse": {"message": _TEXT},
    "AllClearedResponse": {"message": _TEXT},
    "HealthResponse": {"instance_id": _TEXT},
    "StatusResponse": {"instance_id": _TEXT},
    "MetricsResponse": {"instance_id": _TEXT, "nodes": _OBJECT},
}
_SCHEMAS: dict[str, Json] = {
    "SessionConfig": {
        "type": "object",
        "description": "Settings, flat or under `config`",
        "properties": {
            name: {"default": setting.default, "description": setting.message}
            for name, setting in SETTINGS.items()
        },
        "additionalProperties": True,
    },
    "SessionListResponse": {
        "type": "object",
        "required": ["sessions", "count"],
        "properties": {
            "sessions": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/SessionResponse"},
            },
            "count": _WHOLE,
        },
    },
    "PatternDeletedResponse": {
        "type": "object",
        "required": ["status", "pattern", "node_id"],
        "properties": {"status": _TEXT, "pattern": _TEXT, "node_id": _TEXT},
    },
    "PingResponse": {
        "type": "object",
        "required": ["id", "status", "message", "processor", "time_stamp"],
        "properties": {
            "id": _TEXT,
            "status": _TEXT,
            "message": _TEXT,
            "processor": _TEXT,
            "interval": _WHOLE,
            "time_stamp": {"type": "number"},
            "instance_id": _TEXT,
        },
    },
    "Refusal": {
        "type": "object",
        "properties": {
            "detail": {"description": "A sentence, or an object or a list with every problem"},
            "error": {
                "type": "object",
                "description": "In place of a detail where the session is unknown",
                "required": ["code", "message", "session_id"],
                "properties": {"code": _TEXT, "message": _TEXT, "session_id": _TEXT},
            },
        },
    },
}
_PARAMETER = re.compile(r"{(\w+)(:text)?}")


@cache
def document() -> Json:
    """Every listed route with its parameters, body and answer."""
    file = Path(__file__).with_name(f"kato-{API_VERSION}.json")
    kato: Json = json.loads(file.read_text(encoding="utf-8"))
    schemas, paths = kato["components"]["schemas"], kato["paths"]
    schemas |= _SCHEMAS
    for name, properties in _KEYS.items():
        schemas[name]["properties"] |= properties
    del schemas["CreateSessionRequest"]["required"]  # a user_id will do
    for route in ROUTES:
        operations = paths.setdefault(_PARAMETER.sub(r"{\1}", route.path), {})
        operations.setdefault(route.method.lower(), _operation(route))
    for operations in paths.values():
        for operation in operations.values():
            operation["responses"]["4XX"] = _answer("Refused", "Refusal")
    return kato


def _operation(route: Route) -> Json:
    name = getattr(route.handler, "__name__", "")
    operation: Json = {
        "operationId": f"{name}_{re.sub(r'[^a-z0-9]+', '_', route.path)}_{route.method.lower()}",
        "summary": name.replace("_", " ").capitalize(),
        "tags": [_PARAMETER.sub("", route.path).strip("/").split("/")[0]],
        "parameters": _parameters(route),
        "responses": {"200": _answer("Successful Response", route.answer)},
    }
    if route.body:
        operation["requestBody"] = {"required": True, "content": _content(route.body)}
    return operation


def _answer(description: str, schema: str) -> Json:
    return {"description": description, "content": _content(schema)}


def _content(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _parameters(route: Route) -> list[Json]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name, _ in _PARAMETER.findall(route.path)
    ]
    in_query = [
        {"name": name, "in": "query", "required": False, "schema": _TEXT} for name in route.query
    ]
    return in_path + in_query
