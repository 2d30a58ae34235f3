"""From matches to ranked predictions. Source: KATO contract 2.6.5."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kato_processor.affinity import Weigh
from kato_processor.ensemble import Ensemble, Json, Statistics
from kato_processor.fuzzy import Reading
from kato_processor.match import TIE_DIGITS, Match

PRUNE_FACTOR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """All predictions of one state, best first, and the futures they support."""

    predictions: list[Json] = field(default_factory=list)
    future_potentials: list[Json] = field(default_factory=list)


def recall(
    matches: Sequence[Match],
    plain: Reading,
    statistics: Statistics,
    *,
    max_predictions: int,
    ranking: str,
    weigh: Weigh | None,
) -> Recall:
    """Weigh every match against the others, rank and cut.

    Ties are ordered by potential, similarity, frequency and name; patterns without a match come
    last whatever the ranking.
    """
    if not matches:
        return Recall()
    ensemble = Ensemble(matches, plain, statistics, weigh)
    ranked = [(ensemble.standing(match), match) for match in matches]
    if ranking not in ranked[0][0]:
        ranked = [(standing | ensemble.details(match), match) for standing, match in ranked]
    ranked.sort(key=lambda pair: _rank(pair[0], ranking))
    return Recall(
        predictions=[
            standing | ensemble.details(match) for standing, match in ranked[:max_predictions]
        ],
        future_potentials=ensemble.futures.potentials(),
    )


def _rank(standing: Json, ranking: str) -> tuple[bool, float, float, float, int, str]:
    return (
        not standing["matches"],
        -round(standing[ranking] or 0.0, TIE_DIGITS),
        -round(standing["potential"], TIE_DIGITS),
        -round(standing["similarity"], TIE_DIGITS),
        -standing["frequency"],
        standing["name"],
    )
