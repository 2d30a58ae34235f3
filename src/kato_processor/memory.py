"""Short-term memory as a value: events, emotives and metadata waiting to be learned. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kato_processor.matching import Events
from kato_processor.naming import pattern_name

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
    """One pattern to be learned, with what was felt and noted meanwhile.

    `name` is empty where there are too few symbols to be kept.
    """

    name: str
    events: Events
    emotives: list[Emotives] = field(default_factory=list)
    metadata: list[Metadata] = field(default_factory=list)
    vectors: list[NamedVector] = field(default_factory=list)

    def to_document(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True, kw_only=True)
class Memory:
    """One session's short-term memory: a draft that the steps of one request change in place.

    `time` counts observations. `percept` is the last observation. `recalled` holds the events that
    it saw, once learning has taken them away, and `known` the node's newest pattern at that moment
    (for cognition-data).
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

    def observe(
        self,
        observation: Observation,
        event: list[str],
        vectors: Sequence[NamedVector] = (),
        *,
        known: int = 0,
    ) -> None:
        """Take in one observation; an empty event is counted but not kept."""
        self.time += 1
        if event:
            _keep(self.events, event)
            self.recalled, self.known = None, known
        if observation.emotives:
            _keep(self.emotives, observation.emotives)
        if observation.metadata:
            _keep(self.metadata, observation.metadata)
        for vector in vectors:
            _keep(self.vectors, vector)
        self.percept = {
            "strings": sorted(observation.strings),
            "vectors": observation.vectors,
            "metadata": observation.metadata,
        }

    def percept_data(self) -> dict[str, Any]:
        """The last observation as KATO shows it; its emotives are those of the whole memory."""
        if not self.percept:
            return {}
        felt = self.percept.get("emotives")
        return {
            "strings": self.percept["strings"],
            "vectors": self.percept["vectors"],
            "emotives": average(self.emotives) if felt is None else felt,
            "path": [],
            "metadata": self.percept["metadata"],
        }

    def learn(self, *, keep_events: int = 0) -> Lesson:
        """Take everything out as one lesson; `keep_events` of the newest events stay."""
        lesson = Lesson(
            name=pattern_name(self.events),
            events=self.events,
            emotives=self.emotives,
            metadata=self.metadata,
            vectors=self.vectors,
        )
        if self.percept:
            self.percept.setdefault("emotives", average(self.emotives))
        if self.recalled is None:
            self.recalled = self.events
        self.events = self.events[-keep_events:] if keep_events else []
        self.emotives, self.metadata, self.vectors = [], [], []
        return lesson

    def auto_learn(self, mode: StmMode, max_pattern_length: int) -> Lesson | None:
        """Learn when there are `max_pattern_length` events (0: never).

        CLEAR empties the memory; ROLLING keeps its newest `max_pattern_length - 1` events. A single
        event is emptied in both modes, and with a length of 1 ROLLING keeps a longer memory whole.
        Source: KATO contract 2.4.
        """
        if not 0 < max_pattern_length <= len(self.events):
            return None
        if mode == "CLEAR" or len(self.events) == 1:
            return self.learn()
        return self.learn(keep_events=max_pattern_length - 1 or len(self.events))


def _keep(entries: list[Any], entry: Any) -> None:
    entries.append(entry)
    if len(entries) > KEPT_ENTRIES:
        del entries[0]


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
