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
    """KATO's own document describes its routes; a route that only we have says more of itself.

    `body` and `answer` name the schemas of what is sent and given, `query` its parameters.
    """

    method: str
    path: str
    handler: Answer
    answer: str = ""
    body: str | None = None
    query: tuple[str, ...] = ()


_OF_KATO = (
    Route("GET", "/", health.root),
    Route("GET", "/health", health.health),
    Route("GET", "/status", health.status),
    Route("POST", "/sessions", sessions.create),
    Route("GET", "/sessions/count", sessions.count),
    Route("GET", SESSION, sessions.info),
    Route("DELETE", SESSION, sessions.delete),
    Route("GET", SESSION + "/exists", sessions.exists),
    Route("GET", SESSION + "/config", sessions.config),
    Route("POST", SESSION + "/config", sessions.configure),
    Route("POST", SESSION + "/extend", sessions.extend),
    Route("POST", SESSION + "/observe", memory.observe),
    Route("POST", SESSION + "/observe-sequence", memory.observe_sequence),
    Route("GET", SESSION + "/stm", memory.stm),
    Route("POST", SESSION + "/learn", memory.learn),
    Route("POST", SESSION + "/finalize-training", memory.finalize_training),
    Route("POST", SESSION + "/clear-stm", memory.clear_stm),
    Route("POST", SESSION + "/clear-all", memory.clear_all),
    Route("GET", SESSION + "/predictions", memory.predictions),
    Route("GET", SESSION + "/percept-data", memory.percept_data),
    Route("GET", SESSION + "/cognition-data", memory.cognition_data),
    Route("GET", "/pattern/{pattern_id:text}", knowledge.pattern),
    Route("GET", "/symbols/stats", knowledge.symbol_stats),
    Route("GET", "/symbols/affinity", knowledge.affinities),
    Route("GET", "/symbols/{symbol:text}/affinity", knowledge.affinity),
    Route("GET", "/percept-data", knowledge.percept_data),
    Route("GET", "/cognition-data", knowledge.cognition_data),
    Route("GET", "/metrics", monitoring.metrics),
    Route("GET", "/metrics/{metric_name}", monitoring.metric),
    Route("GET", "/stats", monitoring.stats),
    Route("GET", "/concurrency", monitoring.concurrency),
    Route("GET", "/cache/stats", monitoring.cache_stats),
    Route("POST", "/cache/invalidate", monitoring.invalidate_cache),
    Route("GET", "/distributed-stm/stats", monitoring.distributed_stm),
    Route("GET", "/connection-pools", monitoring.connection_pools),
)
_CONFIGURED, _CONFIG = "SessionConfigUpdateResponse", "SessionConfig"
_OURS = (
    Route("GET", "/ping", health.ping, "PingResponse"),
    Route("GET", "/kato-api/ping", health.ping, "PingResponse"),
    Route("GET", "/sessions", sessions.listed, "SessionListResponse"),
    Route("PUT", SESSION + "/config", sessions.configure, _CONFIGURED, _CONFIG),
    Route("PATCH", SESSION + "/config", sessions.configure, _CONFIGURED, _CONFIG),
    Route(
        "DELETE",
        "/pattern/{pattern_id:text}",
        knowledge.forget_pattern,
        "PatternDeletedResponse",
        query=("node_id",),
    ),
)
_WITHOUT_SESSION = (
    Route("POST", "/observe", on_default(memory.observe), "ObservationResult", "ObservationData"),
    Route(
        "POST",
        "/observe-sequence",
        on_default(memory.observe_sequence),
        "ObservationSequenceResult",
        "ObservationSequenceRequest",
    ),
    Route("GET", "/stm", on_default(memory.stm), "STMResponse"),
    Route("GET", "/short-term-memory", on_default(memory.stm), "STMResponse"),
    Route("POST", "/learn", on_default(memory.learn), "LearnResult"),
    Route("GET", "/predictions", on_default(memory.predictions), "PredictionsResponse"),
    Route("POST", "/predictions", on_default(memory.predictions), "PredictionsResponse"),
    Route("POST", "/clear-stm", on_default(memory.clear_stm), "STMClearedResponse"),
    Route("POST", "/clear-short-term-memory", direct.clear_short_term_memory, "STMClearedResponse"),
    Route("POST", "/short-term-memory/clear", direct.clear_short_term_memory, "STMClearedResponse"),
    Route("POST", "/clear-all", on_default(memory.clear_all), "AllClearedResponse"),
    Route("POST", "/clear-all-memory", direct.clear_all_memory, "AllClearedResponse"),
    Route("GET", "/config", on_default(sessions.config), "SessionConfigResponse"),
    Route("PUT", "/config", on_default(sessions.configure), _CONFIGURED, _CONFIG),
    Route("POST", "/config", on_default(sessions.configure), _CONFIGURED, _CONFIG),
)
ROUTES = (*_OF_KATO, *_OURS, *_WITHOUT_SESSION)
UNLISTED = (
    Route("GET", "/openapi.json", docs.openapi),
    Route("GET", "/docs", docs.swagger),
    Route("GET", "/redoc", docs.redoc),
)
