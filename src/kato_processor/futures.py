"""What the matches of an ensemble expect next. Source: KATO contract 2.6.4, 2.6.5."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kato_processor.match import TIE_DIGITS, FutureKey, Match
from kato_processor.matching import Events

Json = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class _Future:
    events: Events
    patterns: int = 0
    weight: float = 0.0


class Futures:
    """Every future of an ensemble with the weight behind it: the sum of f * similarity."""

    def __init__(self, matches: Sequence[Match]) -> None:
        self._futures: dict[FutureKey, _Future] = {}
        for match in matches:
            key = match.future_key()
            if key:
                future = self._futures.get(key)
                if future is None:
                    future = _Future(events=match.pattern.events()[match.cut.future :])
                    self._futures[key] = future
                future.patterns += 1
                future.weight += match.frequency * match.similarity
        self._weight = sum(future.weight for future in self._futures.values())

    def aggregate(self, match: Match) -> float:
        """The share of all weight that is behind the match's future; 0 without a future."""
        future = self._futures.get(match.future_key())
        return self._share(future) if future else 0.0

    def potentials(self) -> list[Json]:
        """The strongest first."""
        listed = [
            {
                "future": future.events,
                "aggregate_potential": self._share(future),
                "supporting_patterns": future.patterns,
                "total_weighted_frequency": future.weight,
            }
            for future in self._futures.values()
        ]
        return sorted(listed, key=_order)

    def _share(self, future: _Future) -> float:
        return future.weight / self._weight if self._weight else 0.0


def _order(listed: Json) -> tuple[float, Events]:
    return -round(listed["aggregate_potential"], TIE_DIGITS), listed["future"]
