"""The control process's application. A new router is one more line in `ROUTERS`."""

from importlib import metadata

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.security import HTTPBearer

from kato_manager.gateway import metrics
from kato_manager.gateway.api import (
    declared,
    errors,
    instances,
    internal,
    overview,
    streams,
)
from kato_manager.gateway.api.access import Access
from kato_manager.gateway.api.context import Context
from kato_manager.gateway.api.methods import Heads
from kato_manager.gateway.metrics import Collected
from kato_manager.gateway.sessions import failures
from kato_manager.gateway.sessions import metrics as session_metrics
from kato_manager.gateway.sessions import router as sessions

# `Access` decides; here it is only said, so that the page of the documentation can send the token.
_BEARER = HTTPBearer(auto_error=False, description="$KATO_HOME/gateway/token of the gateway")
_CONTROL = APIRouter(
    dependencies=[Depends(_BEARER)],
    responses={"default": errors.DESCRIBED, 422: errors.DESCRIBED},
)
for _router in (instances.router, streams.router, declared.router, overview.router):
    _CONTROL.include_router(_router)

ROUTERS: tuple[APIRouter, ...] = (_CONTROL, internal.router, sessions.router)


def create_app(context: Context) -> FastAPI:
    """Everything the control process answers."""
    app = FastAPI(
        title="kato gateway",
        description="Start, stop and watch instances. Changes need the token of the gateway.",
        version=metadata.version("kato-manager"),
        openapi_url="/api/openapi.json",
        docs_url="/api/docs",
        redoc_url=None,
        swagger_ui_parameters={"persistAuthorization": True},
    )
    app.state.context = context
    app.state.followers = streams.Followers()
    errors.install(app)
    failures.install(app)
    for router in ROUTERS:
        app.include_router(router)
    _add_rest(app, context)
    app.add_middleware(Heads)
    app.add_middleware(Access, expected=context.token)
    return app


def _add_rest(app: FastAPI, context: Context) -> None:
    collector = Collected(
        context.counted,
        instances=lambda: context.keeper.watch.instances,
        starts=lambda: context.keeper.watch.starts,
        unhealthy=lambda: context.keeper.health.problems,
    )

    @app.get("/metrics", include_in_schema=False)
    def get_metrics() -> Response:
        live = app.state.sessions
        of_sessions = session_metrics.Collected(live.store, context.manager.settings.home)
        text = metrics.exposition(collector, of_sessions)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    @app.get("/docs", include_in_schema=False)
    def docs(_request: Request) -> Response:
        return RedirectResponse("/api/docs")

    @app.get("/openapi.json", include_in_schema=False)
    def openapi(_request: Request) -> Response:
        return RedirectResponse("/api/openapi.json")
