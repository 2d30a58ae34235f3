"""Routes that tell who this is and whether it works. Source: KATO contract 1.2."""

import time

from starlette.requests import Request

from kato_processor.api.context import Context, context_of
from kato_processor.api.events import iso
from kato_processor.api.replies import Json, Reply
from kato_processor.monitor import METRIC_NAMES
from kato_processor.nodes import MAX_OPEN

API_VERSION = "3.10.1"


async def root(request: Request) -> Reply:
    return Reply(
        {
            "service": "KATO API",
            "version": API_VERSION,
            "description": "Knowledge Abstraction for Traceable Outcomes",
            "docs": "/docs",
            "health": "/health",
            "status": "running",
            "uptime_seconds": context_of(request).monitor.uptime_s,
            "architecture": "modular",
            "session_support": True,
        }
    )


def identity(context: Context) -> Json:
    return {"instance_id": context.processor.settings.instance_id}


async def ping(request: Request) -> Reply:
    context = context_of(request)
    settings = context.processor.settings
    name = settings.instance_id or settings.service_name
    return Reply(
        {
            "id": name,
            "status": "okay",
            "message": "okay",
            "processor": name,
            "interval": 0,
            "time_stamp": time.time(),
            **identity(context),
        }
    )


async def health(request: Request) -> Reply:
    """Healthy while the sessions and nodes can be reached, whatever the load of the machine."""
    context = context_of(request)
    issues: list[str] = []
    active = 0
    try:
        active = await context.run(context.processor.sessions.count)
    except Exception as error:  # noqa: BLE001 - the answer of a health check is the report
        issues.append(f"Session store: {error}")
    word = "unhealthy" if issues else "healthy"
    return Reply(
        {
            "status": word,
            "processor_status": word,
            "service_name": context.processor.settings.service_name,
            "uptime_seconds": context.monitor.uptime_s,
            "issues": issues,
            "metrics_collected": len(METRIC_NAMES),
            "last_collection": context.monitor.started_at,
            "active_sessions": active,
            "timestamp": iso(time.time()),
            **identity(context),
        }
    )


def processors(context: Context) -> Json:
    now = time.time()
    nodes = context.processor.nodes.open_nodes()
    return {
        "total_processors": len(nodes),
        "max_processors": MAX_OPEN,
        "eviction_ttl_seconds": 0,
        "processors": [
            {
                "processor_id": node.node_id,
                "node_id": node.node_id,
                "created_at": iso(node.created_at),
                "last_accessed": iso(node.last_accessed),
                "access_count": node.access_count,
                "idle_seconds": now - node.last_accessed,
            }
            for node in nodes
        ],
    }


async def status(request: Request) -> Reply:
    context = context_of(request)
    active = await context.run(context.processor.sessions.count)
    return Reply(
        {
            "status": "healthy",
            "base_processor_id": context.processor.settings.service_name,
            "uptime_seconds": context.monitor.uptime_s,
            "sessions": {
                "total_sessions": active,
                "active_sessions": active,
                "expired_sessions": 0,
                "backend": context.processor.sessions.backend,
                "redis_url": None,
            },
            "processors": processors(context),
            "version": API_VERSION,
            **identity(context),
        }
    )
