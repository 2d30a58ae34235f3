"""Routes that measure the process. Source: KATO contract 1.6."""

import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from kato_processor.api.context import THREADS, Context, context_of
from kato_processor.api.events import iso
from kato_processor.api.health import identity, processors
from kato_processor.api.replies import Json, Reply, query_int, refused
from kato_processor.monitor import METRIC_NAMES

BACKLOG = 2048
_MINUTES = 10
_PERCENT = 100


def _session_counts(context: Context, active: int) -> Json:
    monitor = context.monitor
    return {
        "total_created": monitor.sessions_created,
        "total_deleted": monitor.sessions_deleted,
        "active": active,
        "operations_total": monitor.operations,
        "created_per_minute": monitor.per_minute()["sessions_created"],
    }


def _resources(context: Context) -> Json:
    resources = context.monitor.resources()
    return {
        "cpu_percent": resources.cpu_percent,
        "memory_percent": resources.memory_percent,
        "disk_percent": resources.disk_percent,
        "memory_bytes": resources.memory_bytes,
    }


async def metrics(request: Request) -> Reply:
    context = context_of(request)
    monitor, processor = context.monitor, context.processor
    monitor.sample()
    active = await context.run(processor.sessions.count)
    per_minute = monitor.per_minute()
    nodes = await context.run(processor.nodes.counts)
    return Reply(
        {
            "timestamp": time.time(),
            "sessions": _session_counts(context, active),
            "performance": monitor.performance(),
            "resources": _resources(context),
            "databases": monitor.databases(),
            "rates": {
                "requests_per_second": per_minute["requests"] / 60,
                "requests_per_minute": per_minute["requests"],
                "errors_per_minute": per_minute["errors"],
            },
            "processor_manager": processors(context),
            "nodes": nodes,
            "uptime_seconds": monitor.uptime_s,
            "active_sessions": active,
            "error": None,
            **identity(context),
        }
    )


async def stats(request: Request) -> Reply:
    context, minutes = context_of(request), query_int(request, "minutes", _MINUTES)
    monitor = context.monitor
    monitor.sample(at_once=True)
    active = await context.run(context.processor.sessions.count)
    summary = {
        "sessions": _session_counts(context, active),
        "performance": monitor.performance(),
        "resources": _resources(context),
        "databases": monitor.databases(),
    }
    now = time.time()
    return Reply(
        {
            "time_range_minutes": minutes,
            "timestamp": now,
            "processor_manager": processors(context),
            "current_status": {
                "status": "healthy",
                "issues": [],
                "metrics": summary,
                "timestamp": iso(now),
            },
            "time_series": {name: monitor.history(name, minutes) for name in METRIC_NAMES},
            "summary": summary,
            "error": None,
        }
    )


async def metric(request: Request) -> Reply:
    context, minutes = context_of(request), query_int(request, "minutes", _MINUTES)
    name = request.path_params["metric_name"]
    context.monitor.sample(at_once=True)
    points = context.monitor.history(name, minutes)
    if not points:
        raise refused(404, f"No data available for metric '{name}' in the last {minutes} minutes")
    return Reply(
        {
            "metric_name": name,
            "time_range_minutes": minutes,
            "timestamp": time.time(),
            "statistics": _statistics([point["value"] for point in points]),
            "data_points": points,
        }
    )


def _statistics(values: list[float]) -> Mapping[str, float]:
    return {
        "count": len(values),
        "min": min(values),
        "max": max(values),
        "avg": sum(values) / len(values),
    }


async def concurrency(request: Request) -> Reply:
    context = context_of(request)
    monitor, workers = context.monitor, context.processor.settings.workers

    def used(requests: int) -> Json:
        return {
            "concurrent_requests": requests,
            "utilization_percent": _PERCENT * requests / BACKLOG,
        }

    return Reply(
        {
            "status": "healthy",
            "current": used(monitor.in_flight),
            "peak": used(monitor.peak_in_flight),
            "limits": {
                "per_worker": BACKLOG,
                "warning_threshold": BACKLOG * 8 // 10,
                "critical_threshold": BACKLOG * 95 // 100,
                "total_capacity": BACKLOG * workers,
            },
            "configuration": {"workers": workers, "backlog": BACKLOG, "max_requests": None},
            "recommendations": [],
            "timestamp": iso(time.time()),
        }
    )


async def cache_stats(request: Request) -> Reply:
    """Every open node is held in memory: there is no cache that could miss."""
    context = context_of(request)
    counts = (await context.run(context.processor.nodes.counts)).values()
    patterns = sum(count["patterns"] for count in counts)
    symbols = sum(count["symbols"] for count in counts)
    performance: dict[str, Any] = {
        "hit_rate_percent": 100.0,
        "cache_hits": context.monitor.requests,
        "cache_misses": 0,
        "patterns_in_cache": patterns,
        "symbols_in_cache": symbols,
        "patterns_cached_total": patterns,
        "symbols_cached_total": symbols,
        "redis_memory_used_mb": 0.0,
        "uptime_seconds": context.monitor.uptime_s,
        "requests_per_second": context.monitor.per_minute()["requests"] / 60,
    }
    healthy = {"status": "healthy", "redis_connected": False, "cache_stats": {}}
    return Reply(
        {
            "cache_performance": performance,
            "cache_health": healthy,
            "timestamp": iso(time.time()),
        }
    )


async def invalidate_cache(request: Request) -> Reply:
    return Reply(
        {
            "status": "success",
            "patterns_invalidated": 0,
            "symbols_invalidated": 0,
            "session_id": request.query_params.get("session_id"),
            "reason": "nothing is cached apart from what is stored",
            "timestamp": iso(time.time()),
        }
    )


async def distributed_stm(_request: Request) -> Reply:
    return Reply(
        {
            "status": "disabled",
            "distributed_stm_enabled": False,
            "reason": "short-term memory is kept by the session store",
            "performance_stats": None,
            "processor_info": None,
            "expected_improvements": None,
            "error": None,
            "timestamp": iso(time.time()),
        }
    )


async def connection_pools(request: Request) -> Reply:
    context = context_of(request)
    return Reply(
        {
            "status": "healthy",
            "health": {"session_store": context.processor.sessions.backend},
            "pool_statistics": {"threads": THREADS},
            "connection_optimization": None,
            "performance_improvements": None,
            "error": None,
            "timestamp": iso(time.time()),
        }
    )
