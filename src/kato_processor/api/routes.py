"""Every route, once: method, path, handler, and what the OpenAPI document says of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from kato_processor.api import direct, docs, health, knowledge, memory, monitoring, sessions
from kato_processor.api.direct import on_default

Answer = Callable[[Request], Awaitable[Response]]
SESSION = "/sessions/{session_id}"


@dataclass(frozen=True, slots=True)
class Route:
    """`body` names the schema of the request body, `query` the query parameters."""

    method: str
    path: str
    handler: Answer
    body: str | None = None
    query: tuple[str, ...] = ()


ROUTES = (
    Route("GET", "/", health.root),
    Route("GET", "/ping", health.ping),
    Route("GET", "/kato-api/ping", health.ping),
    Route("GET", "/health", health.health),
    Route("GET", "/status", health.status),
    Route("POST", "/sessions", sessions.create, body="CreateSessionRequest"),
    Route("GET", "/sessions", sessions.listed),
    Route("GET", "/sessions/count", sessions.count),
    Route("GET", SESSION, sessions.info),
    Route("DELETE", SESSION, sessions.delete),
    Route("GET", SESSION + "/exists", sessions.exists),
    Route("GET", SESSION + "/config", sessions.config),
    Route("POST", SESSION + "/config", sessions.configure, body="SessionConfig"),
    Route("PUT", SESSION + "/config", sessions.configure, body="SessionConfig"),
    Route("PATCH", SESSION + "/config", sessions.configure, body="SessionConfig"),
    Route("POST", SESSION + "/extend", sessions.extend, query=("ttl_seconds",)),
    Route("POST", SESSION + "/observe", memory.observe, body="ObservationData"),
    Route(
        "POST",
        SESSION + "/observe-sequence",
        memory.observe_sequence,
        body="ObservationSequenceRequest",
    ),
    Route("GET", SESSION + "/stm", memory.stm),
    Route("POST", SESSION + "/learn", memory.learn),
    Route("POST", SESSION + "/finalize-training", memory.finalize_training),
    Route("POST", SESSION + "/clear-stm", memory.clear_stm),
    Route("POST", SESSION + "/clear-all", memory.clear_all),
    Route("GET", SESSION + "/predictions", memory.predictions),
    Route("GET", SESSION + "/percept-data", memory.percept_data),
    Route("GET", SESSION + "/cognition-data", memory.cognition_data),
    Route("POST", "/observe", on_default(memory.observe), body="ObservationData"),
    Route(
        "POST",
        "/observe-sequence",
        on_default(memory.observe_sequence),
        body="ObservationSequenceRequest",
    ),
    Route("GET", "/stm", on_default(memory.stm)),
    Route("GET", "/short-term-memory", on_default(memory.stm)),
    Route("POST", "/learn", on_default(memory.learn)),
    Route("GET", "/predictions", on_default(memory.predictions)),
    Route("POST", "/predictions", on_default(memory.predictions)),
    Route("POST", "/clear-stm", on_default(memory.clear_stm)),
    Route("POST", "/clear-short-term-memory", direct.clear_short_term_memory),
    Route("POST", "/short-term-memory/clear", direct.clear_short_term_memory),
    Route("POST", "/clear-all", on_default(memory.clear_all)),
    Route("POST", "/clear-all-memory", direct.clear_all_memory),
    Route("GET", "/config", on_default(sessions.config)),
    Route("PUT", "/config", on_default(sessions.configure), body="SessionConfig"),
    Route("POST", "/config", on_default(sessions.configure), body="SessionConfig"),
    Route("GET", "/pattern/{pattern_id:path}", knowledge.pattern, query=("node_id",)),
    Route("DELETE", "/pattern/{pattern_id:path}", knowledge.forget_pattern, query=("node_id",)),
    Route("GET", "/symbols/stats", knowledge.symbol_stats, query=("node_id",)),
    Route("GET", "/symbols/affinity", knowledge.affinities, query=("node_id",)),
    Route("GET", "/symbols/{symbol:path}/affinity", knowledge.affinity, query=("node_id",)),
    Route("GET", "/percept-data", knowledge.percept_data, query=("node_id",)),
    Route("GET", "/cognition-data", knowledge.cognition_data, query=("node_id",)),
    Route("GET", "/metrics", monitoring.metrics),
    Route("GET", "/metrics/{metric_name}", monitoring.metric, query=("minutes",)),
    Route("GET", "/stats", monitoring.stats, query=("minutes",)),
    Route("GET", "/concurrency", monitoring.concurrency),
    Route("GET", "/cache/stats", monitoring.cache_stats),
    Route("POST", "/cache/invalidate", monitoring.invalidate_cache, query=("session_id",)),
    Route("GET", "/distributed-stm/stats", monitoring.distributed_stm),
    Route("GET", "/connection-pools", monitoring.connection_pools),
)
UNLISTED = (
    Route("GET", "/openapi.json", docs.openapi),
    Route("GET", "/docs", docs.swagger),
    Route("GET", "/redoc", docs.redoc),
)
