"""Symbols that are nearly equal: the state is read in the words of the pattern.

KATO adds near matches to the details only, so that its confidence may pass 1 (contract 2.6.7 and
4). Here a near symbol stands for the pattern's own symbol in every rule and every metric; what was
observed stays visible in `matches` and `anomalies`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from kato_processor.matching import Alphabet, Events, flat

_SLACK = 1e-4


class Anomaly(NamedTuple):
    """A symbol that was observed where the pattern has a similar one."""

    observed: str
    expected: str
    similarity: float


Near = Mapping[str, Sequence[Anomaly]]
Substitutions = Mapping[str, Anomaly]


def near_symbols(state: Iterable[str], vocabulary: Sequence[str], threshold: float) -> Near:
    """Per symbol of the vocabulary those of the state that are similar to it."""
    from rapidfuzz import fuzz, process

    near: dict[str, list[Anomaly]] = {}
    for observed in dict.fromkeys(state):
        hits = process.extract(
            observed,
            vocabulary,
            scorer=fuzz.ratio,
            processor=None,
            score_cutoff=cutoff(threshold),
            limit=None,
        )
        for expected, score, _ in hits:
            if score / 100 >= threshold:
                near.setdefault(expected, []).append(Anomaly(observed, expected, score / 100))
    return near


def cutoff(threshold: float) -> float:
    """A score of rapidfuzz just below the threshold, whose product may pass the exact score."""
    return max(0.0, threshold * 100 - _SLACK)


def substitutions(tokens: Collection[str], near: Near) -> Substitutions:
    """Which symbols of the state stand for another one of this pattern: the most similar, by name.

    A symbol that the pattern holds stands for itself.
    """
    own = frozenset(tokens)
    chosen: dict[str, Anomaly] = {}
    for token in own:
        for anomaly in near.get(token, ()):
            rival = chosen.get(anomaly.observed)
            if anomaly.observed not in own and (rival is None or _order(anomaly) < _order(rival)):
                chosen[anomaly.observed] = anomaly
    return chosen


def _order(anomaly: Anomaly) -> tuple[float, str]:
    return -anomaly.similarity, anomaly.expected


class Reading(NamedTuple):
    """A memory by event, flat, and as text; `anomalies` are the symbols that were replaced."""

    memory: Events
    state: Sequence[str]
    alphabet: Alphabet
    text: str
    anomalies: Substitutions


def reading(memory: Events, chosen: Substitutions | None = None) -> Reading:
    """The memory as it is, or with the chosen symbols in place of the observed ones."""
    if chosen:
        memory = [[chosen[s].expected if s in chosen else s for s in event] for event in memory]
    state = flat(memory)
    alphabet = Alphabet(state)
    return Reading(memory, state, alphabet, alphabet.text(state), chosen or {})
