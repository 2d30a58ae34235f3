"""The whole application: routes, what surrounds every request, start and stop."""

import time
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from kato_processor.api.replies import Reply
from kato_processor.settings import ProcessSettings


def create_app(settings: ProcessSettings) -> Starlette:
    started = time.time()

    async def ping(request: Request) -> Reply:
        return Reply({"status": "okay", "id": settings.instance_id or settings.service_name,
                      "instance_id": settings.instance_id})

    async def health(request: Request) -> Reply:
        return Reply({"status": "healthy", "instance_id": settings.instance_id,
                      "uptime_seconds": time.time() - started})

    return Starlette(routes=[
        Route("/ping", ping), Route("/health", health), Route("/status", health),
    ])
