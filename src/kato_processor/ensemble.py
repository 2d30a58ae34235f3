"""The matches of one state, each weighed against all others. Source: KATO contract 2.6."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kato_processor import metrics
from kato_processor.affinity import Weighted, Weights, weighted
from kato_processor.fuzzy import Anomaly
from kato_processor.index import Pattern
from kato_processor.matching import Cut, Events, extras, flat, missing
from kato_processor.memory import average

Json = dict[str, Any]
FutureKey = tuple[object, ...]
TIE_DIGITS = 12


class Match(NamedTuple):
    """One candidate lined up with the state.

    `matches` are the pattern's symbols, `observed` what was seen in their place; `readings` is the
    memory in the pattern's own symbols.
    """

    pattern: Pattern
    similarity: float
    matches: list[str]
    observed: list[str]
    blocks: int
    cut: Cut
    memory: Events
    readings: Events
    unmatched: int
    anomalies: list[Anomaly]

    def present(self) -> tuple[str, ...]:
        """The symbols of the present events."""
        return self.pattern.symbols(self.cut.present, self.cut.future)

    def future_key(self) -> FutureKey:
        """Futures are the same whatever the order of symbols inside an event.

        An event of one symbol is the symbol itself, so that patterns of such events need no work.
        """
        pattern, first = self.pattern, self.cut.future
        if pattern.has_single_symbols:
            return pattern.tokens[first:]
        return tuple(
            event[0] if len(event) == 1 else tuple(sorted(event))
            for event in pattern.events()[first:]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What the metrics need to know about the node.

    `trained` holds entropy, normalised entropy and global normalised entropy of the patterns
    finalised by training, by row.
    """

    patterns: int
    vocabulary: int
    probability: Callable[[str], float]
    trained: Mapping[int, tuple[float, float, float]]


@dataclass(slots=True, kw_only=True)
class _Future:
    events: Events
    patterns: int = 0
    weight: float = 0.0


class Ensemble:
    """The matches of one state together."""

    def __init__(
        self,
        matches: Sequence[Match],
        state: Sequence[str],
        statistics: Statistics,
        weights: Weights | None,
    ) -> None:
        self._state = state
        self._counts = Counter(state)
        self._statistics = statistics
        self._weights = weights
        self._frequency = sum(_frequency(match) for match in matches)
        self._probability = self._known(matches)
        self._norm = metrics.norm(self._counts, self._probability)
        self._strength = sum(self._weighted_strength(match) for match in matches)
        self._futures = _futures(matches)
        self._support = sum(future.weight for future in self._futures.values())

    def _known(self, matches: Sequence[Match]) -> dict[str, float]:
        """p(s) of every symbol that matches or is missing somewhere in the ensemble."""
        symbols: set[str] = set()
        for match in matches:
            symbols.update(match.matches, match.present())
        return {symbol: self._statistics.probability(symbol) for symbol in symbols}

    def standing(self, match: Match) -> Json:
        """The fields that most rankings go by."""
        pattern, present = match.pattern, match.present()
        matched, similarity = len(match.matches), match.similarity
        fragmentation = metrics.fragmentation(match.blocks)
        evidence = metrics.evidence(matched, len(pattern.tokens))
        confidence = metrics.confidence(matched, len(present))
        snr = metrics.signal_to_noise(matched, match.unmatched)
        itfdf = self._itfdf(match, present)
        felt = self._weighted(match, present)
        heard = (felt.evidence, felt.confidence, felt.snr) if felt else (evidence, confidence, snr)
        share = _frequency(match) / self._frequency
        strength = self._weighted_strength(match)
        return {
            "type": "prototypical",
            "name": pattern.name,
            "frequency": pattern.frequency,
            "matches": match.observed,
            "potential": metrics.score(*heard, fragmentation) + itfdf,
            "evidence": evidence,
            "similarity": similarity,
            "fragmentation": fragmentation,
            "snr": snr,
            "confidence": confidence,
            "weighted_similarity": felt.similarity if felt else None,
            "weighted_evidence": felt.evidence if felt else None,
            "weighted_confidence": felt.confidence if felt else None,
            "weighted_snr": felt.snr if felt else None,
            "itfdf_similarity": itfdf,
            "pattern_probability": share,
            "weighted_strength": strength,
            "bayesian_posterior": strength / self._strength if self._strength else 0.0,
            "bayesian_prior": share,
            "bayesian_likelihood": similarity,
        }

    def details(self, match: Match) -> Json:
        """The other fields."""
        pattern, statistics = match.pattern, self._statistics
        present = match.present()
        trained = statistics.trained.get(pattern.row)
        entropy, normalized, overall = trained or self._entropies(present)
        events = pattern.events()
        here = events[match.cut.present : match.cut.future]
        return {
            "emotives": average(pattern.emotives),
            "past": events[: match.cut.present],
            "present": here,
            "missing": missing(here, match.matches),
            "extras": extras(match.memory, here, match.readings),
            "anomalies": [anomaly.to_json() for anomaly in match.anomalies],
            "sequence": events,
            "future": events[match.cut.future :],
            "confluence": metrics.confluence(
                present, self._probability, _frequency(match), statistics.patterns
            ),
            "predictive_information": self._predictive_information(match),
            "entropy": entropy,
            "normalized_entropy": normalized,
            "global_normalized_entropy": overall,
            "tfidf_score": metrics.tfidf(
                pattern.tokens if trained else present, self._probability, statistics.patterns
            ),
        }

    def future_potentials(self) -> list[Json]:
        """Aggregate of every future of the ensemble, the strongest first."""
        listed = [
            {
                "future": future.events,
                "aggregate_potential": self._aggregate(future),
                "supporting_patterns": future.patterns,
                "total_weighted_frequency": future.weight,
            }
            for future in self._futures.values()
        ]
        return sorted(listed, key=_future_order)

    def _aggregate(self, future: _Future) -> float:
        return future.weight / self._support if self._support else 0.0

    def _weighted_strength(self, match: Match) -> float:
        return match.similarity * _frequency(match) / self._frequency

    def _itfdf(self, match: Match, present: Sequence[str]) -> float:
        distance = metrics.distance(self._counts, Counter(present), self._probability, self._norm)
        return metrics.itfdf_similarity(distance, _frequency(match), self._frequency)

    def _entropies(self, present: Sequence[str]) -> tuple[float, float, float]:
        vocabulary = self._statistics.vocabulary
        return (
            metrics.entropy(present),
            metrics.normalized_entropy(present, vocabulary),
            metrics.global_normalized_entropy(present, self._probability, vocabulary),
        )

    def _predictive_information(self, match: Match) -> float:
        """Weighted strength over the aggregate potential of its future; 0 without a future."""
        future = self._futures.get(match.future_key())
        aggregate = self._aggregate(future) if future else 0.0
        return self._weighted_strength(match) / aggregate if aggregate else 0.0

    def _weighted(self, match: Match, present: Sequence[str]) -> Weighted | None:
        if self._weights is None:
            return None
        here = match.pattern.events()[match.cut.present : match.cut.future]
        return weighted(
            self._weights,
            matches=match.matches,
            state=self._state,
            pattern=match.pattern.tokens,
            present=present,
            extras=flat(extras(match.memory, here, match.readings)),
        )


def _futures(matches: Sequence[Match]) -> dict[FutureKey, _Future]:
    futures: dict[FutureKey, _Future] = {}
    for match in matches:
        key = match.future_key()
        if key:
            future = futures.get(key)
            if future is None:
                future = _Future(events=match.pattern.events()[match.cut.future :])
                futures[key] = future
            future.patterns += 1
            future.weight += _frequency(match) * match.similarity
    return futures


def _future_order(listed: Json) -> tuple[float, Events]:
    return -round(listed["aggregate_potential"], TIE_DIGITS), listed["future"]


def _frequency(match: Match) -> int:
    return max(1, match.pattern.frequency)
