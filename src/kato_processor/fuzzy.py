"""Symbols that are nearly equal: the state is read in the words of the pattern.

KATO adds near matches to the details only, so that its confidence may pass 1 (contract 2.6.7 and
4). Here a near symbol stands for the pattern's own symbol in every rule and every metric; what was
observed stays visible in `matches` and `anomalies`.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from kato_processor.matching import Events


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """A symbol that was observed where the pattern has a similar one."""

    observed: str
    expected: str
    similarity: float

    def to_json(self) -> dict[str, str | float]:
        return {
            "observed": self.observed,
            "expected": self.expected,
            "similarity": self.similarity,
        }


Near = dict[str, list[Anomaly]]


def near_symbols(state: Iterable[str], vocabulary: Sequence[str], threshold: float) -> Near:
    """Per symbol of the state the similar ones of the vocabulary, best first, then by name."""
    from rapidfuzz import fuzz, process

    return {
        symbol: [
            Anomaly(observed=symbol, expected=expected, similarity=score / 100)
            for expected, score, _ in sorted(
                process.extract(
                    symbol,
                    vocabulary,
                    scorer=fuzz.ratio,
                    processor=None,
                    score_cutoff=threshold * 100,
                    limit=None,
                ),
                key=lambda hit: (-hit[1], hit[0]),
            )
        ]
        for symbol in set(state)
    }


def substitutions(tokens: Collection[str], near: Near) -> dict[str, Anomaly]:
    """Which symbols of the state stand for another one of this pattern: its own come first."""
    own = frozenset(tokens)
    chosen = {}
    for symbol, candidates in near.items():
        if symbol in own:
            continue
        best = next((c for c in candidates if c.expected in own), None)
        if best:
            chosen[symbol] = best
    return chosen


def translated(state: Sequence[str], chosen: dict[str, Anomaly]) -> list[str]:
    return [chosen[symbol].expected if symbol in chosen else symbol for symbol in state]


def translated_events(memory: Events, chosen: dict[str, Anomaly]) -> Events:
    return [translated(event, chosen) for event in memory]
