"""Routes of sessions. Source: KATO contract 1.3 and the session guide."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.requests import Request

from kato_processor.api import bodies
from kato_processor.api.context import Context, context_of
from kato_processor.api.events import iso
from kato_processor.api.replies import (
    Json,
    Refused,
    Reply,
    Schema,
    query_int,
    refused,
    sent,
    session_not_found,
    validated,
)
from kato_processor.memory import VectorDimensionError
from kato_processor.processor import EmptyMemory
from kato_processor.sessions import Session, SessionMissing
from kato_processor.settings import InvalidSettings

DEFAULT_EXTENSION_S = 3600
Handler = Callable[[Request], Awaitable[Reply]]


async def create(request: Request) -> Reply:
    context = context_of(request)
    body = await sent(request)
    if isinstance(body, dict) and body.get("node_id") is None and body.get("user_id"):
        body = body | {"node_id": f"user_{body['user_id']}"}
    wanted = validated(bodies.new_session, body)
    session = await context.run(
        partial(
            context.processor.create,
            wanted["node_id"],
            ttl_s=wanted["ttl_seconds"] or wanted["ttl"] or None,
            config=wanted["config"] or {},
            metadata=wanted["metadata"] or {},
            user_id=wanted["user_id"],
        )
    )
    context.monitor.created()
    created = {"session_id": session.id, "node_id": wanted["node_id"]}
    await context.events.tell("session.created", created | {"created_at": iso(session.created_at)})
    return Reply(described(context, session, ttl_s=session.ttl_s))


async def listed(request: Request) -> Reply:
    context = context_of(request)
    sessions = await context.run(context.processor.sessions.live)
    return Reply(
        {
            "sessions": [described(context, session, session.remaining_s) for session in sessions],
            "count": len(sessions),
        }
    )


async def count(request: Request) -> Reply:
    context = context_of(request)
    return Reply({"active_session_count": await context.run(context.processor.sessions.count)})


async def info(request: Request) -> Reply:
    context, session_id = context_of(request), request.path_params["session_id"]
    try:
        session = await context.run(context.processor.sessions.read, session_id)
    except SessionMissing:
        raise refused(404, f"Session {session_id} not found or expired") from None
    return Reply(described(context, session, session.remaining_s))


async def exists(request: Request) -> Reply:
    context, session_id = context_of(request), request.path_params["session_id"]
    alive = await context.run(context.processor.sessions.exists, session_id)
    return Reply({"exists": alive, "expired": False, "session_id": session_id})


async def delete(request: Request) -> Reply:
    context, session_id = context_of(request), request.path_params["session_id"]
    if not await context.in_line(session_id, context.processor.sessions.delete, session_id):
        raise session_not_found(session_id)
    context.monitor.deleted()
    gone = {"session_id": session_id, "destroyed_at": iso(time.time())}
    await context.events.tell("session.destroyed", gone | {"reason": "explicit_delete"})
    return Reply({"status": "deleted", "session_id": session_id})


def described(context: Context, session: Session, ttl_s: int | None) -> Json:
    """A session as the API shows it: the service's keys and the guide's."""
    config = context.processor.config_of(session)
    return {
        "session_id": session.id,
        "node_id": session.workspace.node_id,
        "user_id": session.user_id,
        "created_at": iso(session.created_at),
        "expires_at": None if session.expires_at is None else iso(session.expires_at),
        "last_accessed": iso(session.last_accessed),
        "ttl_seconds": ttl_s,
        "ttl": session.ttl_s,
        "remaining_ttl": session.remaining_s,
        "auto_extend": session.auto_extend,
        "metadata": session.metadata,
        "session_config": config,
        "config": config,
    }


async def on_session(
    request: Request, work: Callable[..., Any], schema: Schema | None = None
) -> Any:
    """Run `work(session_id[, body])` in the session's turn, and answer what goes wrong.

    An unknown session is 404 whatever the body; only then is the body looked at.
    """
    context, session_id = context_of(request), request.path_params["session_id"]
    context.monitor.operations += 1
    arguments: list[Any] = [session_id]
    try:
        if schema is not None:
            arguments.append(validated(schema, await sent(request)))
        return await context.in_line(session_id, work, *arguments)
    except Refused:
        if not await context.run(context.processor.sessions.exists, session_id):
            raise session_not_found(session_id) from None
        raise
    except SessionMissing:
        raise session_not_found(session_id) from None
    except InvalidSettings as error:
        raise invalid_settings(error) from None
    except EmptyMemory:
        raise refused(400, "Cannot learn from empty STM") from None
    except VectorDimensionError as error:
        raise refused(400, {"error": "VectorDimensionError", "message": str(error)}) from None


def invalid_settings(error: InvalidSettings) -> Refused:
    return refused(
        400,
        {"error": "Configuration validation failed", "validation_errors": error.problems},
    )


async def config(request: Request) -> Reply:
    processor = context_of(request).processor
    session = await on_session(request, processor.settled)
    return Reply({"session_id": session.id, "config": processor.config_of(session)})


async def configure(request: Request) -> Reply:
    processor = context_of(request).processor

    def work(session_id: str, body: Json) -> Session:
        changes = body.get("config", body)
        if not isinstance(changes, dict):
            raise refused(422, [_not_an_object(changes)])
        return processor.configure(session_id, changes)

    session = await on_session(request, work, bodies.anything)
    reply = {
        "status": "okay",
        "message": "Configuration updated",
        "session_id": session.id,
        "config": processor.config_of(session),
    }
    return Reply(reply)


def _not_an_object(value: Any) -> Json:
    return {
        "type": "dict_type",
        "loc": ["body", "config"],
        "msg": "Input should be a valid dictionary",
        "input": value,
    }


async def extend(request: Request) -> Reply:
    sessions = context_of(request).processor.sessions

    def work(session_id: str) -> int:
        ttl_s = query_int(request, "ttl_seconds", DEFAULT_EXTENSION_S, limit=bodies.MAX_TTL_S)
        sessions.extend(session_id, ttl_s)
        return ttl_s

    ttl_s = await on_session(request, work)
    session_id = request.path_params["session_id"]
    return Reply({"status": "extended", "session_id": session_id, "ttl_seconds": ttl_s})
