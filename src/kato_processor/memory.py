"""Short-term memory as a value: events, emotives and metadata waiting to be learned. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from kato_processor.matching import Events

Emotives = dict[str, float]
Metadata = dict[str, Any]
NamedVector = tuple[str, list[float]]
StmMode = Literal["CLEAR", "ROLLING"]

KEPT_ENTRIES = 1000


class VectorDimensionError(ValueError):
    """Vectors of one observation that cannot be added."""

    def __init__(self, lengths: Sequence[int]) -> None:
        super().__init__(f"vectors of one observation differ in length: {sorted(set(lengths))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a client sent, checked."""

    strings: list[str] = field(default_factory=list)
    vectors: list[list[float]] = field(default_factory=list)
    emotives: Emotives = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)
    unique_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One pattern to be learned, with what was felt and noted meanwhile."""

    events: Events
    emotives: list[Emotives] = field(default_factory=list)
    metadata: list[Metadata] = field(default_factory=list)
    vectors: list[NamedVector] = field(default_factory=list)

    def to_document(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One session's short-term memory.

    `time` counts observations. `percept` is the last observation as answered by percept-data.
    `recalled` holds the events that the last observation saw, once learning has taken them away,
    and `known` the newest pattern of the node at that moment (for cognition-data).
    """

    events: Events = field(default_factory=list)
    emotives: list[Emotives] = field(default_factory=list)
    metadata: list[Metadata] = field(default_factory=list)
    vectors: list[NamedVector] = field(default_factory=list)
    time: int = 0
    percept: dict[str, Any] = field(default_factory=dict)
    recalled: Events | None = None
    known: int = 0

    def to_document(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def event_of(strings: Sequence[str], vector_names: Iterable[str], *, sort: bool) -> list[str]:
    """Vector symbols first, then strings, each part sorted by code point on its own."""
    return [*sorted(vector_names), *(sorted(strings) if sort else strings)]


def average(entries: Iterable[Mapping[str, float]]) -> Emotives:
    """Per emotive the mean over the entries that hold it."""
    sums: dict[str, list[float]] = {}
    for entry in entries:
        for name, value in entry.items():
            sums.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in sums.items()}


def window(entries: Sequence[Emotives], persistence: int) -> list[Emotives]:
    """The newest `persistence` entries: the rolling window of a pattern's emotives."""
    return list(entries[-persistence:])


def united(known: Mapping[str, Sequence[str]], noted: Iterable[Metadata]) -> dict[str, list[str]]:
    """Per key the sorted distinct texts of all values; the text is Python's `str(value)`."""
    texts = {key: set(values) for key, values in known.items()}
    for entry in noted:
        for key, value in entry.items():
            texts.setdefault(key, set()).add(str(value))
    return {key: sorted(values) for key, values in texts.items()}


def observed(
    memory: Memory,
    observation: Observation,
    event: list[str],
    vectors: Sequence[NamedVector] = (),
    *,
    known: int = 0,
) -> Memory:
    """The memory after one observation; an empty event is counted but not kept."""
    emotives = [*memory.emotives, observation.emotives] if observation.emotives else memory.emotives
    metadata = [*memory.metadata, observation.metadata] if observation.metadata else memory.metadata
    kept = emotives[-KEPT_ENTRIES:]
    return replace(
        memory,
        events=[*memory.events, event][-KEPT_ENTRIES:] if event else memory.events,
        emotives=kept,
        metadata=metadata[-KEPT_ENTRIES:],
        vectors=[*memory.vectors, *vectors][-KEPT_ENTRIES:],
        time=memory.time + 1,
        recalled=None if event else memory.recalled,
        known=known if event else memory.known,
        percept={
            "strings": sorted(observation.strings),
            "vectors": observation.vectors,
            "emotives": average(kept),
            "path": [],
            "metadata": observation.metadata,
        },
    )


def learned(memory: Memory, *, keep_events: int = 0) -> tuple[Memory, Lesson]:
    """Take everything out as one lesson; `keep_events` of the newest events stay."""
    lesson = Lesson(
        events=memory.events,
        emotives=memory.emotives,
        metadata=memory.metadata,
        vectors=memory.vectors,
    )
    after = replace(
        memory,
        events=memory.events[-keep_events:] if keep_events else [],
        emotives=[],
        metadata=[],
        vectors=[],
        recalled=memory.recalled if memory.recalled is not None else memory.events,
    )
    return after, lesson


def is_full(memory: Memory, max_pattern_length: int) -> bool:
    """Whether auto-learning is due: 0 disables it."""
    return 0 < max_pattern_length <= len(memory.events)


def auto_learned(memory: Memory, mode: StmMode, max_pattern_length: int) -> tuple[Memory, Lesson]:
    """CLEAR empties the memory; ROLLING keeps its newest `max_pattern_length - 1` events.

    A single event is emptied in both modes, and with a length of 1 ROLLING keeps a longer memory
    whole. Source: KATO contract 2.4.
    """
    if mode == "CLEAR" or len(memory.events) == 1:
        return learned(memory)
    return learned(memory, keep_events=max_pattern_length - 1 or len(memory.events))


def without_events(memory: Memory) -> Memory:
    """Between the parts of a sequence: events go, accumulators stay."""
    return replace(memory, events=[])


def cleared() -> Memory:
    """Everything forgotten, time included."""
    return Memory()
