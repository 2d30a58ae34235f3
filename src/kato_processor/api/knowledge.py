"""Routes of a node's patterns and symbols, without a session. Source: KATO contract 1.5."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from starlette.requests import Request

from kato_processor.api.context import context_of
from kato_processor.api.replies import Json, Reply, refused
from kato_processor.naming import DEFAULT_NODE, PATTERN_PREFIX, bare, knowledge_base_id
from kato_processor.node import Node, SymbolCount

if TYPE_CHECKING:
    from kato_processor.memory import Emotives

Result = TypeVar("Result")
_EMPTY_PERCEPT: Json = {"strings": [], "vectors": [], "emotives": {}, "path": [], "metadata": {}}
_EMPTY_COGNITION: Json = {
    "predictions": [],
    "emotives": {},
    "symbols": [],
    "command": "",
    "metadata": {},
    "path": [],
    "strings": [],
    "vectors": [],
    "short_term_memory": [],
}


def node_of(request: Request) -> str:
    """The query parameter, else a test's header, else the node header, else the default."""
    named = request.query_params.get("node_id")
    if named is not None:
        return named
    test = request.headers.get("x-test-id")
    if test:
        return test if test.startswith("test_") else f"test_{test}"
    return request.headers.get("x-node-id") or DEFAULT_NODE


def _shown(request: Request) -> str:
    service_name = context_of(request).processor.settings.service_name
    return knowledge_base_id(node_of(request), service_name)


async def _ask(request: Request, ask: Callable[[Node], Result], unknown: Result) -> Result:
    """The node's answer; a node that does not exist is not made by asking."""
    context, node_id = context_of(request), node_of(request)

    def work() -> Result:
        nodes = context.processor.nodes
        if not nodes.exists(node_id):
            return unknown
        with nodes.using(node_id) as node:
            return ask(node)

    return await context.run(work)


async def pattern(request: Request) -> Reply:
    wanted = request.path_params["pattern_id"]
    name = bare(wanted)
    found = await _ask(request, lambda node: node.pattern(name), None)
    answer: Json = {"status": "error", "message": f"Pattern {wanted} not found"}
    if found:
        answer = {
            "status": "okay",
            "pattern": {
                "name": PATTERN_PREFIX + found.name,
                "pattern_data": found.events,
                "length": sum(map(len, found.events)),
                "frequency": found.frequency,
                "emotives": found.emotives,
                "metadata": found.metadata,
            },
        }
    return Reply({"pattern": answer, "node_id": _shown(request)})


async def forget_pattern(request: Request) -> Reply:
    wanted = request.path_params["pattern_id"]
    name = bare(wanted)
    if not await _ask(request, lambda node: node.forget(name), False):
        raise refused(404, f"Pattern {wanted} not found")
    return Reply({"status": "deleted", "pattern": wanted, "node_id": _shown(request)})


async def symbol_stats(request: Request) -> Reply:
    counts: dict[str, SymbolCount] = await _ask(request, Node.symbols, {})
    symbols = {
        symbol: {
            "name": symbol,
            "frequency": count.frequency,
            "pattern_member_frequency": count.pattern_member_frequency,
        }
        for symbol, count in counts.items()
    }
    return Reply({"symbols": symbols, "node_id": _shown(request)})


async def affinities(request: Request) -> Reply:
    found: dict[str, Emotives] = await _ask(request, Node.affinities, {})
    return Reply({"affinities": found, "node_id": _shown(request)})


async def affinity(request: Request) -> Reply:
    symbol = request.path_params["symbol"]
    found: Emotives = await _ask(request, lambda node: node.affinity(symbol), {})
    return Reply({"symbol": symbol, "affinity": found, "node_id": _shown(request)})


async def percept_data(request: Request) -> Reply:
    return Reply(
        {
            "percept_data": _EMPTY_PERCEPT,
            "node_id": _shown(request),
            "warning": "Deprecated: use GET /sessions/{session_id}/percept-data",
        }
    )


async def cognition_data(request: Request) -> Reply:
    return Reply(
        {
            "cognition_data": _EMPTY_COGNITION,
            "node_id": _shown(request),
            "warning": "Deprecated: use GET /sessions/{session_id}/cognition-data",
        }
    )
