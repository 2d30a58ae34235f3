"""Routes of a session's memory: observe, learn, predict, clear. Source: KATO contract 1.3."""

import time
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from kato_processor.api import bodies
from kato_processor.api.context import context_of
from kato_processor.api.replies import Json, Reply
from kato_processor.api.sessions import on_session
from kato_processor.matching import flat
from kato_processor.memory import Observation
from kato_processor.sessions import Session
from kato_processor.steps import unique_id
from kato_processor.workspace import Workspace

if TYPE_CHECKING:
    from kato_processor.prediction import Recall


async def observe(request: Request) -> Reply:
    processor = context_of(request).processor

    def work(session_id: str, body: Json) -> Any:
        return processor.observe(session_id, Observation(**body))

    workspace, lesson = await on_session(request, work, bodies.observation)
    memory = workspace.memory
    return Reply(
        {
            "status": "okay",
            "session_id": request.path_params["session_id"],
            "processor_id": workspace.node_id,
            "stm_length": len(memory.events),
            "time": memory.time,
            "unique_id": unique_id("obs"),
            "auto_learned_pattern": (lesson and lesson.name) or None,
        }
    )


async def observe_sequence(request: Request) -> Reply:
    processor = context_of(request).processor

    def work(session_id: str, body: Json) -> Any:
        observations, options = bodies.sequence_parts(body)
        return options, processor.observe_sequence(session_id, observations, options)

    options, (workspace, (before, run)) = await on_session(request, work, bodies.sequence)
    return Reply(
        {
            "status": "completed",
            "processor_id": workspace.node_id,
            "observations_processed": len(run.results),
            "initial_stm_length": before,
            "final_stm_length": len(workspace.memory.events),
            "results": run.results,
            "auto_learned_patterns": run.names,
            "final_learned_pattern": run.final,
            "isolated": options.clear_stm_between,
        }
    )


async def stm(request: Request) -> Reply:
    session = await on_session(request, context_of(request).processor.settled)
    events = session.workspace.memory.events
    return Reply({"stm": events, "session_id": session.id, "length": len(events)})


async def clear_stm(request: Request) -> Reply:
    await on_session(request, context_of(request).processor.clear_memory)
    return Reply({"status": "cleared", "session_id": request.path_params["session_id"]})


async def clear_all(request: Request) -> Reply:
    await on_session(request, context_of(request).processor.clear_all)
    session_id = request.path_params["session_id"]
    return Reply({"status": "cleared", "session_id": session_id, "scope": "all"})


async def learn(request: Request) -> Reply:
    _, lesson = await on_session(request, context_of(request).processor.learn)
    return Reply(
        {
            "status": "learned",
            "pattern_name": lesson.name,
            "session_id": request.path_params["session_id"],
            "processor_id": None,
            "message": f"Learned pattern {lesson.name} from 0 events",  # KATO counts after emptying
        }
    )


async def finalize_training(request: Request) -> Reply:
    processor = context_of(request).processor
    began = time.perf_counter()

    def work(session_id: str) -> tuple[Session, int]:
        session = processor.settled(session_id)
        return session, processor.finalize_training(session)

    session, patterns = await on_session(request, work)
    return Reply(
        {
            "status": "completed",
            "patterns_processed": patterns,
            "time_ms": (time.perf_counter() - began) * 1000,
            "session_id": session.id,
            "node_id": session.workspace.node_id,
            "message": f"Finalized {patterns} patterns",
        }
    )


async def predictions(request: Request) -> Reply:
    processor = context_of(request).processor

    def work(session_id: str) -> "Recall":
        return processor.predict(processor.settled(session_id))

    recalled = await on_session(request, work)
    return Reply(
        {
            "predictions": recalled.predictions,
            "future_potentials": recalled.future_potentials,
            "session_id": request.path_params["session_id"],
            "processor_id": None,
            "count": len(recalled.predictions),
            "time": None,
            "unique_id": None,
        }
    )


async def percept_data(request: Request) -> Reply:
    session = await on_session(request, context_of(request).processor.settled)
    return Reply(
        {
            "percept_data": session.workspace.memory.percept_data(),
            "session_id": session.id,
            "node_id": session.workspace.node_id,
        }
    )


async def cognition_data(request: Request) -> Reply:
    processor = context_of(request).processor

    def work(session_id: str) -> tuple[Session, "Recall"]:
        session = processor.settled(session_id)
        return session, processor.recalled(session)

    session, recalled = await on_session(request, work)
    return Reply(
        {
            "cognition_data": _cognition(session.workspace, recalled),
            "session_id": session.id,
            "node_id": session.workspace.node_id,
        }
    )


def _cognition(workspace: Workspace, recalled: "Recall") -> Json:
    memory = workspace.memory
    return {
        "predictions": recalled.predictions,
        "emotives": memory.emotives[-1] if memory.emotives else {},
        "symbols": flat(memory.events),
        "command": "",
        "metadata": {},
        "path": [],
        "strings": [],
        "vectors": [],
        "short_term_memory": memory.events,
        "time": memory.time,
    }
