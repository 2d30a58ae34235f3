"""The OpenAPI document, made from the route table."""

import re
from typing import Any

from kato_processor.api.health import API_VERSION
from kato_processor.api.routes import ROUTES, Route

Json = dict[str, Any]
_STRINGS = {"type": "array", "items": {"type": "string"}, "default": []}
_OBSERVATION: Json = {
    "strings": _STRINGS,
    "vectors": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "number"}},
        "default": [],
    },
    "emotives": {"type": "object", "additionalProperties": {"type": "number"}, "default": {}},
    "metadata": {"type": "object", "additionalProperties": True, "default": {}},
}
_FLAG = {"type": "boolean", "default": False}
_TTL = {"type": ["integer", "null"], "minimum": 0, "description": "seconds; 0 or null: default"}
_SCHEMAS: dict[str, Json] = {
    "ObservationData": {"type": "object", "properties": _OBSERVATION},
    "ObservationSequenceRequest": {
        "type": "object",
        "required": ["observations"],
        "properties": {
            "observations": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": _OBSERVATION | {"unique_id": {"type": ["string", "null"]}},
                },
            },
            "learn_after_each": _FLAG,
            "learn_at_end": _FLAG,
            "clear_stm_between": _FLAG,
        },
    },
    "CreateSessionRequest": {
        "type": "object",
        "description": "`node_id`, or `user_id`, which then names the node",
        "properties": {
            "node_id": {"type": "string"},
            "user_id": {"type": ["string", "null"]},
            "metadata": {"type": ["object", "null"]},
            "ttl_seconds": _TTL,
            "ttl": _TTL,
            "config": {"type": ["object", "null"]},
        },
    },
    "SessionConfig": {
        "type": "object",
        "description": "Settings, flat or under `config`",
        "additionalProperties": True,
    },
}
_QUERY: dict[str, Json] = {
    "node_id": {"type": "string"},
    "session_id": {"type": "string"},
    "minutes": {"type": "integer", "default": 10},
    "ttl_seconds": {"type": "integer", "default": 3600},
}
_PARAMETER = re.compile(r"{(\w+)(:path)?}")


def document() -> Json:
    """Every listed route with its parameters and request body."""
    paths: dict[str, Json] = {}
    for route in ROUTES:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "KATO API",
            "description": "Knowledge Abstraction for Traceable Outcomes",
            "version": API_VERSION,
        },
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }


def _operation(route: Route) -> Json:
    name = getattr(route.handler, "__name__", "")
    operation: Json = {
        "operationId": f"{name}_{re.sub(r'[^a-z0-9]+', '_', route.path)}_{route.method.lower()}",
        "summary": name.replace("_", " ").capitalize(),
        "tags": [_PARAMETER.sub("", route.path).strip("/").split("/")[0] or "health"],
        "parameters": _parameters(route),
        "responses": {
            "200": {
                "description": "Successful Response",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            "4XX": {"description": "Refused; the reason is under `detail` or `error`"},
        },
    }
    if route.body:
        schema = {"$ref": f"#/components/schemas/{route.body}"}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _parameters(route: Route) -> list[Json]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name, _ in _PARAMETER.findall(route.path)
    ]
    in_query = [
        {"name": name, "in": "query", "required": False, "schema": _QUERY[name]}
        for name in route.query
    ]
    return in_path + in_query
