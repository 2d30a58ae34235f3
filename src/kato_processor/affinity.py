"""Emotive weights of symbols and what they make of the metrics. Source: KATO contract 2.6.8."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Weigh = Callable[[str], float]
Weights = Mapping[str, float]
_FLOOR = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """The weighted counterparts of similarity, evidence, confidence and signal to noise."""

    similarity: float
    evidence: float
    confidence: float
    snr: float


def weight(affinity: float, frequency: int) -> float:
    """|affinity| / frequency + 0.01 where both are above 0, else 0.01."""
    return abs(affinity) / frequency + _FLOOR if affinity and frequency else _FLOOR


def weighted(
    weights: Weights,
    *,
    matches: Iterable[str],
    state: Iterable[str],
    pattern: Iterable[str],
    present: Iterable[str],
    extras: Iterable[str],
) -> Weighted:
    """Sums of weights in place of counts; symbols outside the state weigh nothing."""
    matched = _sum(weights, matches)
    whole = _sum(weights, pattern)
    return Weighted(
        similarity=_share(2 * matched, _sum(weights, state) + whole),
        evidence=_share(matched, whole),
        confidence=_share(matched, _sum(weights, present)),
        snr=_share(matched, matched + _sum(weights, extras)),
    )


def _sum(weights: Weights, symbols: Iterable[str]) -> float:
    return sum(weights.get(symbol, 0.0) for symbol in symbols)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
