"""The numbers of a prediction; pure. Source of every formula: KATO contract 2.6.4.

f = frequency, F = sum of f over the ensemble, N = patterns of the node, V = distinct symbols of
the node, p(s) = share of the node's patterns that hold s, R = symbols of the present events,
m = number of matched symbols, X = symbols of the state that did not match.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import log, log2, prod, sqrt

_UNKNOWN_PROBABILITY = 1e-10


def similarity(common: int, pattern_length: int, state_length: int) -> float:
    """2 * LCS / (|pattern| + |state|): 0..1."""
    total = pattern_length + state_length
    return 2 * common / total if total else 0.0


def evidence(matched: int, pattern_length: int) -> float:
    """Share of the pattern that matched: m / |pattern|."""
    return matched / pattern_length if pattern_length else 0.0


def confidence(matched: int, present_length: int) -> float:
    """Share of the present that matched: m / |R|."""
    return matched / present_length if present_length else 0.0


def signal_to_noise(matched: int, unmatched: int) -> float:
    """(2m - X) / (2m + X): -1..1."""
    total = 2 * matched + unmatched
    return (2 * matched - unmatched) / total if total else 0.0


def fragmentation(blocks: int) -> float:
    """Blocks - 1; -1 when nothing matched."""
    return float(blocks - 1)


def fragment_term(fragmentation: float) -> float:
    """0 when nothing matched, else 1 / (fragmentation + 1)."""
    return 0.0 if fragmentation == -1 else 1 / (fragmentation + 1)


def score(evidence: float, confidence: float, snr: float, fragmentation: float) -> float:
    """(evidence + confidence) * snr + fragment term: the potential before the ensemble's part."""
    return (evidence + confidence) * snr + fragment_term(fragmentation)


def entropy(present: Sequence[str]) -> float:
    """-sum q log2 q over the distinct symbols of R, q = count / |R|."""
    return _entropy(present, 2)


def normalized_entropy(present: Sequence[str], vocabulary: int) -> float:
    """The same with base V; 0 if V <= 1."""
    return _entropy(present, vocabulary) if vocabulary > 1 else 0.0


def _entropy(symbols: Sequence[str], base: int) -> float:
    total = len(symbols)
    shares = [count / total for count in Counter(symbols).values()]
    logarithm = log2 if base == 2 else lambda share: log(share, base)  # noqa: PLR2004
    return max(0.0, -sum(share * logarithm(share) for share in shares))


def global_normalized_entropy(
    present: Sequence[str], probability: Mapping[str, float], vocabulary: int
) -> float:
    """-sum p(s) log_V p(s) over the distinct symbols of R with p(s) > 0; 0 if V <= 1."""
    if vocabulary <= 1:
        return 0.0
    known = [p for symbol in dict.fromkeys(present) if (p := probability.get(symbol, 0.0)) > 0]
    return max(0.0, -sum(p * log(p, vocabulary) for p in known))


def tfidf(symbols: Sequence[str], probability: Mapping[str, float], patterns: int) -> float:
    """Mean over the distinct symbols of (count/|R|) * (log2(N/n) + 1), n = int(p*N) but >= 1."""
    if not symbols or not patterns:
        return 0.0
    total = len(symbols)
    counts = Counter(symbols)
    return sum(
        count / total * (log2(patterns / max(1, int(probability.get(symbol, 0.0) * patterns))) + 1)
        for symbol, count in counts.items()
    ) / len(counts)


def distance(
    state: Mapping[str, int],
    present: Mapping[str, int],
    probability: Mapping[str, float],
    state_norm: float,
) -> float:
    """1 - cosine of the p-weighted symbol counts; 1 if a vector is zero."""
    dot = sum(probability.get(s, 0.0) ** 2 * n * state[s] for s, n in present.items() if s in state)
    length = state_norm * norm(present, probability)
    return 1 - dot / length if length else 1.0


def norm(counts: Mapping[str, int], probability: Mapping[str, float]) -> float:
    """Length of the p-weighted vector of symbol counts."""
    return sqrt(sum((probability.get(symbol, 0.0) * n) ** 2 for symbol, n in counts.items()))


def itfdf_similarity(distance: float, frequency: int, ensemble_frequency: int) -> float:
    """1 - d * f / F."""
    return 1 - distance * frequency / ensemble_frequency


def confluence(
    present: Sequence[str], probability: Mapping[str, float], frequency: int, patterns: int
) -> float:
    """(f / N) * (1 - product of p(s) over R with repetition), an unknown p counting 1e-10."""
    if not present or not patterns:
        return 0.0
    chance = prod(probability.get(symbol, 0.0) or _UNKNOWN_PROBABILITY for symbol in present)
    return frequency / patterns * (1 - chance)
