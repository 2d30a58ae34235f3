"""What one request does to a session's memory. Source: KATO contract 2.2 to 2.5.

A step changes the draft of a memory and gives the lessons to be learned; nothing is written here,
so a step can be repeated on a new draft when another process was faster.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kato_processor.memory import Lesson, Memory, NamedVector, Observation, event_of
from kato_processor.settings import Config

Json = dict[str, Any]
VectorSymbols = Callable[[Sequence[Sequence[float]]], tuple[set[str], NamedVector]]

_ANY_ROW = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a step needs besides the memory: config, the node's vectors and newest pattern.

    Without `vector_symbols` vectors are not looked at.
    """

    config: Config
    vector_symbols: VectorSymbols | None
    newest_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceOptions:
    learn_after_each: bool = False
    learn_at_end: bool = False
    clear_stm_between: bool = False


@dataclass(slots=True, kw_only=True)
class Run:
    """A sequence of observations under way, then its outcome."""

    lessons: list[Lesson] = field(default_factory=list)
    results: list[Json] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    final: str | None = None

    def learned(self, lesson: Lesson) -> str:
        self.lessons.append(lesson)
        self.names.append(lesson.name)
        return lesson.name


def unique_id(prefix: str) -> str:
    return f"{prefix}-{os.urandom(16).hex()}"


def observe(memory: Memory, observation: Observation, context: Context) -> Lesson | None:
    """Add one observation; a memory grown to `max_pattern_length` is learned at once."""
    config = context.config
    names: set[str] = set()
    vectors: list[NamedVector] = []
    if observation.vectors and context.vector_symbols:
        names, vector = context.vector_symbols(observation.vectors)
        vectors = [vector]
    event = event_of(observation.strings, names, sort=config["sort_symbols"])
    memory.observe(observation, event, vectors, known=context.newest_row)
    if not event:
        return None
    return memory.auto_learn(config["stm_mode"], config["max_pattern_length"])


def observe_sequence(
    memory: Memory,
    observations: Sequence[Observation],
    options: SequenceOptions,
    context: Context,
) -> Run:
    """Observe one after the other, learning and clearing between as asked."""
    run = Run()
    for position, observation in enumerate(observations):
        if options.clear_stm_between and position:
            memory.events = []
        lesson = observe(memory, observation, context)
        if lesson:
            run.lessons.append(lesson)
        if options.learn_after_each and memory.events:
            run.learned(memory.learn())
        auto_learned = (lesson and lesson.name) or None
        if auto_learned:
            run.names.append(auto_learned)
        run.results.append(
            {
                "status": "okay",
                "sequence_position": position,
                "stm_length": len(memory.events),
                "time": memory.time,
                "unique_id": observation.unique_id or unique_id("seq-obs"),
                "auto_learned_pattern": auto_learned,
            }
        )
        if run.lessons and context.newest_row != _ANY_ROW:
            context = replace(context, newest_row=_ANY_ROW)  # their rows are not known yet
    if options.learn_at_end and memory.events:
        run.final = run.learned(memory.learn())
    return run
