"""The session API: `/sessions`, `/query`, `/chat`, `/users/{id}/sessions`."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from kato_manager.gateway.api import bodies as json_bodies
from kato_manager.gateway.api.bodies import described
from kato_manager.gateway.sessions import bodies, failures, figures, paths, shown
from kato_manager.gateway.sessions.calls import Answer
from kato_manager.gateway.sessions.live import Live, opened
from kato_manager.gateway.sessions.passing import Incoming, Passage, Passed, given
from kato_sessions.model import State
from kato_sessions.store import PAGE_MAX

_EXTENSION_S = 3600
_PASSED_ON = ("content-type", "accept", "x-trace-id", "x-request-id", "x-node-id", "x-test-id")
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def live_of(request: Request) -> Live:
    live: Live = request.app.state.sessions
    return live


class Shown(JSONResponse):
    """JSON in ASCII: a history may hold what UTF-8 cannot say, as half a surrogate pair."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


router = APIRouter(
    tags=["sessions"],
    lifespan=opened,
    dependencies=[Depends(paths.one_segment)],
    default_response_class=Shown,
)
Here = Annotated[Live, Depends(live_of)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
_CREATE = {"node_id": "my_application", "config": {"recall_threshold": 0.3}, "ttl": 7200}
_QUERY = {"query": "Your question", "thread_id": "session_123", "user_id": "user_456"}


@router.post("/sessions", openapi_extra=described("A session as wanted.", _CREATE))
async def create(here: Here, request: Request) -> Response:
    """Make a session; with `node_id` or `user_id` it lives at the instance bound to that."""
    wanted = bodies.new_session(request, await json_bodies.json_object(request))
    return _session(await here.sessions.create(wanted))


@router.get("/sessions")
async def list_sessions(
    here: Here,
    user_id: str | None = None,
    node_id: str | None = None,
    cursor: str | None = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """The active ones, newest first, a page at a time."""
    return await _listed(here, user_id=user_id, node_id=node_id, cursor=cursor, limit=limit)


@router.get("/users/{user_id:path}/sessions")
async def list_of_user(
    here: Here, user_id: str, cursor: str | None = None, limit: Limit = 100
) -> dict[str, Any]:
    """The active ones of a user, newest first."""
    found = await _listed(here, user_id=user_id, cursor=cursor, limit=limit)
    return {"user_id": user_id, **found}


@router.get("/sessions/count")
async def count(here: Here) -> dict[str, int]:
    found = await here.sessions.store.count()
    return {"active_session_count": found, "count": found}


@router.get("/sessions/stats")
async def stats(here: Here) -> dict[str, Any]:
    """How many, how old, how large."""
    archive = here.places.open_archive()
    found = await asyncio.to_thread(figures.figures, here.store, archive)
    return {**found, "storage_type": here.places.url.partition(":")[0]}


@router.post("/sessions/cleanup")
async def cleanup(here: Here, *, dry_run: bool = False) -> dict[str, Any]:
    """End what has expired now; the gateway does it from time to time."""
    swept = await asyncio.to_thread(here.sweeper.sweep, dry_run=dry_run)
    return {
        "status": "skipped" if swept.skipped else "completed",
        "cleaned_sessions": swept.total,
        "expired": swept.expired,
        "archived": swept.archived,
        "purged": swept.purged,
        "archives_removed": swept.archives_removed,
        "dry_run": dry_run,
    }


@router.get("/sessions/{session_id}")
async def info(here: Here, request: Request, session_id: str) -> Response:
    """A session with its TTL; asking does not extend it."""
    return _session(await here.sessions.info(paths.checked(request, session_id)))


@router.delete("/sessions/{session_id}")
async def delete(here: Here, request: Request, session_id: str) -> dict[str, str]:
    """End it; learned patterns stay."""
    await here.sessions.delete(paths.checked(request, session_id))
    return {"status": "deleted", "session_id": session_id}


@router.get("/sessions/{session_id}/exists")
async def exists(here: Here, session_id: str) -> dict[str, Any]:
    """Always 200; does not extend it."""
    found = await here.sessions.store.peek(session_id) if paths.is_id(session_id) else None
    return {
        "exists": found is not None and found.state is State.ACTIVE,
        "expired": found is not None and found.state in {State.EXPIRED, State.ARCHIVED},
        "session_id": session_id,
    }


@router.get("/sessions/{session_id}/history")
async def history(
    here: Here,
    session_id: str,
    after: Annotated[int, Query(ge=0, le=1 << 53)] = 0,
    before: Annotated[int | None, Query(ge=1, le=1 << 53)] = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """What was asked and answered, in order; without bounds the newest."""
    found = await here.sessions.store.peek(session_id) if paths.is_id(session_id) else None
    if found is None or found.state is State.DELETED:
        raise failures.not_found(session_id, "session_deleted" if found else "session_unknown")
    items = await here.sessions.store.items(session_id, after=after, before=before, limit=limit)
    return {"session_id": session_id, "items": [shown.item(one) for one in items]}


async def configure(here: Here, request: Request, session_id: str) -> Response:
    """Merge settings, wrapped in `config` or flat; answers the effective ones."""
    changes = bodies.config_changes(await json_bodies.json_object(request))
    effective, session = await here.sessions.configure(
        paths.checked(request, session_id), changes, paths.expected_version(request)
    )
    answer = {
        "status": "okay",
        "message": "Configuration updated",
        "session_id": session_id,
        "config": effective,
        "config_rev": session.config_rev,
    }
    return Shown(answer, headers={"ETag": f'"{session.version}"'})


for _method in ("PUT", "PATCH", "POST"):
    router.add_api_route(
        "/sessions/{session_id}/config",
        configure,
        methods=[_method],
        openapi_extra=described("Settings.", {"config": {"recall_threshold": 0.5}}),
    )


@router.post("/sessions/{session_id}/extend")
async def extend(
    here: Here, request: Request, session_id: str, ttl_seconds: int | None = None
) -> Response:
    """Give it this many seconds from now on, said in the query or, as at creation, in the body."""
    said = bodies.ttl_s(await json_bodies.json_object(request))
    ttl_s = ttl_seconds if ttl_seconds is not None else said or _EXTENSION_S
    if not abs(ttl_s) < 1 << 31:
        raise bodies.invalid(f"ttl_seconds: {ttl_s} is too much")
    return given(await here.sessions.extend(paths.checked(request, session_id), ttl_s))


@router.api_route("/sessions/{session_id}/{rest:path}", methods=_METHODS, include_in_schema=False)
async def forward(here: Here, request: Request, session_id: str, rest: str) -> Response:
    """Anything else of a session is for its instance to do."""
    if not rest:
        return RedirectResponse(f"/sessions/{session_id}", 307)
    headers = tuple((name, request.headers[name]) for name in _PASSED_ON if name in request.headers)
    session_id = paths.checked(request, session_id)

    def passing(content: Incoming) -> AbstractAsyncContextManager[Answer | Passage]:
        return here.sessions.passing(
            session_id, request.method, paths.raw_rest(request), content, headers
        )

    return Passed(passing, request.headers)


@router.post("/query", openapi_extra=described("A question in words.", _QUERY))
async def query(here: Here, request: Request) -> dict[str, Any]:
    """Ask in a session, made if need be: words are observed, the prediction is the answer."""
    body = await json_bodies.json_object(request)
    return await here.conversation.query(bodies.question(request, body, "query", "text"))


@router.post("/chat", openapi_extra=described("A message.", {"message": "Hello"}))
async def chat(here: Here, request: Request) -> dict[str, Any]:
    """Say something in a session, made if need be; both sides are kept."""
    body = await json_bodies.json_object(request)
    return await here.conversation.chat(bodies.question(request, body, "message", "query"))


async def _listed(here: Live, **wanted: Any) -> dict[str, Any]:
    page = await here.sessions.store.list(**wanted)
    now = here.store.clock()
    return {
        "sessions": [shown.session(one, now) for one in page.sessions],
        "count": len(page.sessions),
        "next_cursor": page.cursor,
    }


def _session(document: dict[str, Any]) -> Response:
    headers = {"X-Session-ID": document["session_id"], "ETag": f'"{document["version"]}"'}
    return Shown(document, headers=headers)
