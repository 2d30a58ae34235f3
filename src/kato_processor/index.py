"""The node's patterns in memory: an inverted index whose look-ups cost what the matches cost."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kato_processor.matching import Events
from kato_processor.memory import Emotives

if TYPE_CHECKING:
    import numpy as np

_SLACK = 1e-6


@dataclass(slots=True, kw_only=True)
class Pattern:
    """A learned pattern; `row` is its number in storage, `sizes` the lengths of its events."""

    row: int
    name: str
    tokens: tuple[str, ...]
    sizes: tuple[int, ...]
    frequency: int
    emotives: list[Emotives]

    @property
    def has_single_symbols(self) -> bool:
        """Whether every event has one symbol: the frequent case, which needs no counting."""
        return len(self.sizes) == len(self.tokens)

    def symbols(self, first: int, last: int) -> tuple[str, ...]:
        """The symbols of these events."""
        if self.has_single_symbols:
            return self.tokens[first:last]
        start = sum(self.sizes[:first])
        return self.tokens[start : start + sum(self.sizes[first:last])]

    def events(self) -> Events:
        if self.has_single_symbols:
            return [[token] for token in self.tokens]
        events, start = [], 0
        for size in self.sizes:
            events.append(list(self.tokens[start : start + size]))
            start += size
        return events


@dataclass(slots=True, kw_only=True)
class Postings:
    """Slots of the patterns that hold a symbol at least once, at least twice, ..."""

    levels: list["array[int]"] = field(default_factory=list)
    frequency: int = 0

    def patterns(self) -> int:
        return len(self.levels[0])

    def add(self, slot: int, occurrences: int) -> None:
        while len(self.levels) < occurrences:
            self.levels.append(array("i"))
        for level in self.levels[:occurrences]:
            level.append(slot)


class Index:
    """Patterns by slot, in the order they were learned. Not thread-safe: its node locks."""

    def __init__(self) -> None:
        self.patterns: list[Pattern] = []
        self._slots: dict[str, int] = {}
        self._postings: dict[str, Postings] = {}
        self._lengths = array("i")
        self._seen = array("i")
        self._sizes: dict[tuple[int, ...], tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self.patterns)

    @property
    def vocabulary(self) -> int:
        """Number of distinct symbols."""
        return len(self._postings)

    def symbols(self) -> dict[str, Postings]:
        return self._postings

    def probability(self, symbol: str) -> float:
        """Share of the patterns that hold the symbol."""
        postings = self._postings.get(symbol)
        return postings.patterns() / len(self.patterns) if postings else 0.0

    def frequency(self, symbol: str) -> int:
        """Occurrences over everything learned, repetitions included."""
        postings = self._postings.get(symbol)
        return postings.frequency if postings else 0

    def get(self, name: str) -> Pattern | None:
        slot = self._slots.get(name)
        return None if slot is None else self.patterns[slot]

    def put(
        self, *, row: int, name: str, events: Events, frequency: int, emotives: list[Emotives]
    ) -> None:
        """Add a pattern, or bring a known one up to date."""
        known = self.get(name)
        if known is None:
            self._add(row, name, events, frequency, emotives)
            return
        for symbol in known.tokens:
            self._postings[symbol].frequency += frequency - known.frequency
        known.frequency, known.emotives = frequency, emotives

    def _add(
        self, row: int, name: str, events: Events, frequency: int, emotives: list[Emotives]
    ) -> None:
        slot = len(self.patterns)
        tokens = tuple(symbol for event in events for symbol in event)
        sizes = tuple(len(event) for event in events)
        sizes = self._sizes.setdefault(sizes, sizes)
        for symbol, occurrences in Counter(tokens).items():
            postings = self._postings.get(symbol)
            if postings is None:
                postings = self._postings[symbol] = Postings()
            postings.add(slot, occurrences)
            postings.frequency += occurrences * frequency
        self._slots[name] = slot
        self._lengths.append(len(tokens))
        self._seen.append(0)
        self.patterns.append(
            Pattern(
                row=row,
                name=name,
                tokens=tokens,
                sizes=sizes,
                frequency=frequency,
                emotives=emotives,
            )
        )

    def everything(self) -> list[int]:
        return list(range(len(self.patterns)))

    def sharing(self, state: Sequence[str], threshold: float) -> list[tuple[int, int]]:
        """(slot, symbols shared) of every pattern whose similarity may reach the threshold.

        Counting touches only the postings of the state's symbols; the shared count, repetitions
        included, bounds the common subsequence from above.
        """
        import numpy as np

        seen = np.frombuffer(self._seen, dtype=np.int32)
        lengths = np.frombuffer(self._lengths, dtype=np.int32)
        touched = []
        for postings in self._shared_postings(state):
            touched.append(postings[seen[postings] == 0])
            seen[postings] += 1
        if not touched:
            return []
        slots = np.concatenate(touched)
        shared = seen[slots]
        seen[slots] = 0
        enough = 2 * shared >= (threshold - _SLACK) * (lengths[slots] + len(state))
        return list(zip(slots[enough].tolist(), shared[enough].tolist(), strict=True))

    def _shared_postings(self, state: Sequence[str]) -> list["np.ndarray"]:
        import numpy as np

        return [
            np.frombuffer(level, dtype=np.int32)
            for symbol, count in Counter(state).items()
            if (postings := self._postings.get(symbol))
            for level in postings.levels[:count]
        ]
