"""The matches of one state, each weighed against all others. Source: KATO contract 2.6."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kato_processor import metrics
from kato_processor.affinity import Weigh, Weighted, weighted
from kato_processor.futures import Futures
from kato_processor.fuzzy import Reading
from kato_processor.match import Match
from kato_processor.matching import extras, missing
from kato_processor.memory import average

Json = dict[str, Any]


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
class _Counted:
    """A state's symbols counted, the length of that vector by p(s), and what each one weighs."""

    counts: Mapping[str, int]
    norm: float
    weights: Mapping[str, float]


class Ensemble:
    """The matches of one state together."""

    def __init__(
        self,
        matches: Sequence[Match],
        plain: Reading,
        statistics: Statistics,
        weigh: Weigh | None,
    ) -> None:
        self._plain = plain
        self._statistics = statistics
        self._weigh = weigh
        self._frequency = sum(match.frequency for match in matches)
        self._probability = self._known(matches)
        self._observed = self._counted(plain.state)
        self._strength = sum(self._weighted_strength(match) for match in matches)
        self.futures = Futures(matches)

    def _known(self, matches: Sequence[Match]) -> dict[str, float]:
        """p(s) of every symbol that matches or is missing somewhere in the ensemble."""
        symbols: set[str] = set()
        for match in matches:
            symbols.update(match.matches(), match.present())
        return {symbol: self._statistics.probability(symbol) for symbol in symbols}

    def _counted(self, state: Sequence[str]) -> _Counted:
        counts = Counter(state)
        return _Counted(
            counts=counts,
            norm=metrics.norm(counts, self._probability),
            weights={symbol: self._weigh(symbol) for symbol in counts} if self._weigh else {},
        )

    def standing(self, match: Match) -> Json:
        """The fields that most rankings go by."""
        pattern, present = match.pattern, match.present()
        matched, similarity = match.matched, match.similarity
        is_plain = match.reading is self._plain
        state = self._observed if is_plain else self._counted(match.reading.state)
        fragmentation = metrics.fragmentation(match.alignment.blocks)
        evidence = metrics.evidence(matched, len(pattern.tokens))
        confidence = metrics.confidence(matched, len(present))
        snr = metrics.signal_to_noise(matched, match.unmatched)
        itfdf = self._itfdf(match, present, state)
        felt = self._weighted(match, present, state.weights) if self._weigh else None
        heard = (felt.evidence, felt.confidence, felt.snr) if felt else (evidence, confidence, snr)
        share = match.frequency / self._frequency
        strength = self._weighted_strength(match)
        return {
            "type": "prototypical",
            "name": pattern.name,
            "frequency": pattern.frequency,
            "matches": [self._plain.state[place] for place in match.alignment.places],
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
            "missing": missing(here, match.matches()),
            "extras": extras(self._plain.memory, here, match.reading.memory),
            "anomalies": self._anomalies(match),
            "sequence": events,
            "future": events[match.cut.future :],
            "confluence": metrics.confluence(
                present, self._probability, match.frequency, statistics.patterns
            ),
            "predictive_information": self._predictive_information(match),
            "entropy": entropy,
            "normalized_entropy": normalized,
            "global_normalized_entropy": overall,
            "tfidf_score": metrics.tfidf(
                pattern.tokens if trained else present, self._probability, statistics.patterns
            ),
        }

    def _weighted_strength(self, match: Match) -> float:
        return match.similarity * match.frequency / self._frequency

    def _anomalies(self, match: Match) -> list[Json]:
        replaced = match.reading.anomalies
        observed = (self._plain.state[place] for place in match.alignment.places)
        return [replaced[symbol]._asdict() for symbol in observed if symbol in replaced]

    def _itfdf(self, match: Match, present: Sequence[str], state: _Counted) -> float:
        distance = metrics.distance(state.counts, Counter(present), self._probability, state.norm)
        return metrics.itfdf_similarity(distance, match.frequency, self._frequency)

    def _entropies(self, present: Sequence[str]) -> tuple[float, float, float]:
        vocabulary = self._statistics.vocabulary
        return (
            metrics.entropy(present),
            metrics.normalized_entropy(present, vocabulary),
            metrics.global_normalized_entropy(present, self._probability, vocabulary),
        )

    def _predictive_information(self, match: Match) -> float:
        """Weighted strength over the aggregate potential of its future; 0 without a future."""
        aggregate = self.futures.aggregate(match)
        return self._weighted_strength(match) / aggregate if aggregate else 0.0

    def _weighted(
        self, match: Match, present: Sequence[str], weights: Mapping[str, float]
    ) -> Weighted:
        state, expected = match.reading.state, frozenset(present)
        return weighted(
            weights,
            matches=match.matches(),
            state=state,
            pattern=match.pattern.tokens,
            present=present,
            extras=[symbol for symbol in state if symbol not in expected],
        )
