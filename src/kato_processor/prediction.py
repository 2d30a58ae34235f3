"""From a short-term memory to ranked predictions; pure over an index. Source: contract 2.6."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kato_processor import metrics
from kato_processor.affinity import Weighted, Weights, weighted
from kato_processor.fuzzy import Anomaly
from kato_processor.index import Pattern
from kato_processor.matching import Events, flat, missing
from kato_processor.memory import average

Json = dict[str, Any]
PRUNE_FACTOR = 3
TIE_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One candidate lined up with the state. `observed` is what matched, as it was observed."""

    pattern: Pattern
    similarity: float
    matches: list[str]
    observed: list[str]
    blocks: int
    past: Events
    present: Events
    future: Events
    extras: Events
    unmatched: int
    anomalies: list[Anomaly] = field(default_factory=list)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """All predictions of one state, best first, and the futures they support."""

    predictions: list[Json] = field(default_factory=list)
    future_potentials: list[Json] = field(default_factory=list)


def recall(
    ensemble: Sequence[Match],
    state: Sequence[str],
    statistics: Statistics,
    *,
    max_predictions: int,
    ranking: str,
    weights: Weights | None,
) -> Recall:
    """Weigh every match against the others, rank and cut.

    Ties are ordered by potential, similarity, frequency and name; patterns without a match come
    last whatever the ranking.
    """
    if not ensemble:
        return Recall()
    judge = _Judge(ensemble, state, statistics, weights)
    predictions = [judge.prediction(match) for match in ensemble]
    predictions.sort(key=lambda prediction: _rank(prediction, ranking))
    return Recall(
        predictions=predictions[:max_predictions], future_potentials=judge.future_potentials()
    )


def _rank(prediction: Json, ranking: str) -> tuple[bool, float, float, float, int, str]:
    return (
        not prediction["matches"],
        -round(prediction[ranking] or 0.0, TIE_DIGITS),
        -round(prediction["potential"], TIE_DIGITS),
        -round(prediction["similarity"], TIE_DIGITS),
        -prediction["frequency"],
        prediction["name"],
    )


class _Judge:
    """Knows the whole ensemble, so that each member can be weighed against it."""

    def __init__(
        self,
        ensemble: Sequence[Match],
        state: Sequence[str],
        statistics: Statistics,
        weights: Weights | None,
    ) -> None:
        self._state = state
        self._state_counts = Counter(state)
        self._statistics = statistics
        self._weights = weights
        self._frequency = sum(_frequency(match) for match in ensemble)
        self._missing = {
            match.pattern.row: missing(match.present, match.matches) for match in ensemble
        }
        self._probability = self._known(ensemble)
        self._state_norm = metrics.norm(self._state_counts, self._probability)
        self._posterior = sum(m.similarity * _frequency(m) / self._frequency for m in ensemble)
        self._futures = _futures(ensemble)
        self._support = sum(future.weight for future in self._futures.values())

    def _known(self, ensemble: Sequence[Match]) -> dict[str, float]:
        """p(s) of the symbols that match or are missing somewhere in the ensemble."""
        symbols = {symbol for match in ensemble for symbol in match.matches}
        for events in self._missing.values():
            symbols.update(flat(events))
        return {symbol: self._statistics.probability(symbol) for symbol in symbols}

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

    def _aggregate(self, future: "_Future") -> float:
        return future.weight / self._support if self._support else 0.0

    def prediction(self, match: Match) -> Json:
        pattern, statistics = match.pattern, self._statistics
        present = flat(match.present)
        matched, frequency = len(match.matches), _frequency(match)
        similarity, fragmentation = match.similarity, metrics.fragmentation(match.blocks)
        evidence = metrics.evidence(matched, len(pattern.tokens))
        confidence = metrics.confidence(matched, len(present))
        snr = metrics.signal_to_noise(matched, match.unmatched)
        itfdf = self._itfdf(present, frequency)
        share = frequency / self._frequency
        emotional = self._weighted(match, present)
        heard = (
            (emotional.evidence, emotional.confidence, emotional.snr)
            if emotional
            else (evidence, confidence, snr)
        )
        entropies = statistics.trained.get(pattern.row)
        seen = pattern.tokens if entropies else present
        if entropies is None:
            entropies = self._entropies(present)
        return {
            "type": "prototypical",
            "name": pattern.name,
            "frequency": pattern.frequency,
            "emotives": average(pattern.emotives),
            "matches": match.observed,
            "past": match.past,
            "present": match.present,
            "missing": self._missing[pattern.row],
            "extras": match.extras,
            "anomalies": [anomaly.to_json() for anomaly in match.anomalies],
            "potential": metrics.score(*heard, fragmentation) + itfdf,
            "evidence": evidence,
            "similarity": similarity,
            "fragmentation": fragmentation,
            "snr": snr,
            "confluence": metrics.confluence(
                present, self._probability, frequency, statistics.patterns
            ),
            "predictive_information": self._predictive_information(match, share),
            "sequence": pattern.events(),
            "future": match.future,
            "confidence": confidence,
            "weighted_similarity": emotional.similarity if emotional else None,
            "weighted_evidence": emotional.evidence if emotional else None,
            "weighted_confidence": emotional.confidence if emotional else None,
            "weighted_snr": emotional.snr if emotional else None,
            "entropy": entropies[0],
            "normalized_entropy": entropies[1],
            "global_normalized_entropy": entropies[2],
            "itfdf_similarity": itfdf,
            "tfidf_score": metrics.tfidf(seen, self._probability, statistics.patterns),
            "pattern_probability": share,
            "weighted_strength": similarity * share,
            "bayesian_posterior": similarity * share / self._posterior if self._posterior else 0.0,
            "bayesian_prior": share,
            "bayesian_likelihood": similarity,
        }

    def _itfdf(self, present: Sequence[str], frequency: int) -> float:
        distance = metrics.distance(
            self._state_counts, Counter(present), self._probability, self._state_norm
        )
        return metrics.itfdf_similarity(distance, frequency, self._frequency)

    def _entropies(self, present: Sequence[str]) -> tuple[float, float, float]:
        vocabulary = self._statistics.vocabulary
        return (
            metrics.entropy(present),
            metrics.normalized_entropy(present, vocabulary),
            metrics.global_normalized_entropy(present, self._probability, vocabulary),
        )

    def _predictive_information(self, match: Match, share: float) -> float:
        """Weighted strength over the aggregate potential of its future; 0 without a future."""
        if not match.future:
            return 0.0
        aggregate = self._aggregate(self._futures[_future_key(match.future)])
        return match.similarity * share / aggregate if aggregate else 0.0

    def _weighted(self, match: Match, present: Sequence[str]) -> Weighted | None:
        if self._weights is None:
            return None
        return weighted(
            self._weights,
            matches=match.matches,
            state=self._state,
            pattern=match.pattern.tokens,
            present=present,
            extras=flat(match.extras),
        )


@dataclass(slots=True, kw_only=True)
class _Future:
    events: Events
    patterns: int = 0
    weight: float = 0.0


FutureKey = tuple[tuple[str, ...], ...]


def _future_key(events: Events) -> FutureKey:
    """Futures are the same whatever the order of symbols inside an event."""
    return tuple(tuple(sorted(event)) for event in events)


def _futures(ensemble: Sequence[Match]) -> dict[FutureKey, _Future]:
    futures: dict[FutureKey, _Future] = {}
    for match in ensemble:
        if match.future:
            future = futures.setdefault(_future_key(match.future), _Future(events=match.future))
            future.patterns += 1
            future.weight += _frequency(match) * match.similarity
    return futures


def _future_order(listed: Json) -> tuple[float, Events]:
    return -round(listed["aggregate_potential"], TIE_DIGITS), listed["future"]


def _frequency(match: Match) -> int:
    return max(1, match.pattern.frequency)
