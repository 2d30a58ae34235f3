"""What one request does to a session's memory. Source: KATO contract 2.2 to 2.5.

Every step goes from a memory to a memory plus the lessons to be learned; nothing is written here,
so a step can be repeated when another process was faster.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from kato_processor import memory as memories
from kato_processor.memory import Lesson, Memory, NamedVector, Observation
from kato_processor.naming import pattern_name
from kato_processor.settings import Config

Json = dict[str, Any]
VectorSymbols = Callable[[Sequence[Sequence[float]]], tuple[set[str], NamedVector]]

_ANY_ROW = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a step needs besides the memory: config, the node's vectors and newest pattern."""

    config: Config
    vector_symbols: VectorSymbols
    newest_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The memory after one observation; `lesson` is what it taught on its own."""

    memory: Memory
    lesson: Lesson | None = None

    @property
    def auto_learned(self) -> str | None:
        return (pattern_name(self.lesson.events) or None) if self.lesson else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceOptions:
    learn_after_each: bool = False
    learn_at_end: bool = False
    clear_stm_between: bool = False


@dataclass(slots=True, kw_only=True)
class Run:
    """A sequence of observations under way, then its outcome."""

    memory: Memory
    lessons: list[Lesson] = field(default_factory=list)
    results: list[Json] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    final: str | None = None

    def learn(self) -> str:
        self.memory, lesson = memories.learned(self.memory)
        self.lessons.append(lesson)
        name = pattern_name(lesson.events)
        self.names.append(name)
        return name


def unique_id(prefix: str) -> str:
    return f"{prefix}-{uuid4().hex}"


def observe(memory: Memory, observation: Observation, context: Context) -> Observed:
    """Add one observation; a memory grown to `max_pattern_length` is learned at once."""
    config = context.config
    names: set[str] = set()
    vectors: list[NamedVector] = []
    if observation.vectors and config["indexer_type"] == "VI":
        names, vector = context.vector_symbols(observation.vectors)
        vectors = [vector]
    event = memories.event_of(observation.strings, names, sort=config["sort_symbols"])
    memory = memories.observed(memory, observation, event, vectors, known=context.newest_row)
    length = config["max_pattern_length"]
    if not event or not memories.is_full(memory, length):
        return Observed(memory=memory)
    memory, lesson = memories.auto_learned(memory, config["stm_mode"], length)
    return Observed(memory=memory, lesson=lesson)


def observe_sequence(
    memory: Memory,
    observations: Sequence[Observation],
    options: SequenceOptions,
    context: Context,
) -> Run:
    """Observe one after the other, learning and clearing between as asked."""
    run = Run(memory=memory)
    for position, observation in enumerate(observations):
        if options.clear_stm_between and position:
            run.memory = memories.without_events(run.memory)
        if run.lessons:  # their rows are not known yet
            context = replace(context, newest_row=_ANY_ROW)
        seen = observe(run.memory, observation, context)
        run.memory = seen.memory
        if seen.lesson:
            run.lessons.append(seen.lesson)
        if options.learn_after_each and run.memory.events:
            run.learn()
        auto_learned = seen.auto_learned
        if auto_learned:
            run.names.append(auto_learned)
        run.results.append(
            {
                "status": "okay",
                "sequence_position": position,
                "stm_length": len(run.memory.events),
                "time": run.memory.time,
                "unique_id": observation.unique_id or unique_id("seq-obs"),
                "auto_learned_pattern": auto_learned,
            }
        )
    if options.learn_at_end and run.memory.events:
        run.final = run.learn()
    return run
