"""A node's answer to a short-term memory: candidates, metrics and ranking under one config."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from kato_processor import affinity, metrics
from kato_processor.candidates import Criteria, matches
from kato_processor.ensemble import Statistics
from kato_processor.filters import Pipeline
from kato_processor.fuzzy import reading
from kato_processor.index import Index
from kato_processor.matching import Events
from kato_processor.memory import Emotives
from kato_processor.prediction import PRUNE_FACTOR, Recall, recall
from kato_processor.storage import Entropies

AffinityOf = Callable[[str], Emotives]


def recalled(
    index: Index,
    events: Events,
    config: Mapping[str, Any],
    *,
    trained: Mapping[int, Entropies],
    affinity_of: AffinityOf,
    newest_row: int | None = None,
) -> Recall:
    """What these events recall; `newest_row` leaves out what was learned later."""
    if not events:
        return Recall()
    plain = reading(events)
    stages = config["filter_pipeline"]
    criteria = Criteria(
        threshold=config["recall_threshold"],
        token_matching=config["use_token_matching"],
        fuzzy_threshold=config.get("fuzzy_token_threshold") or 0.0,
        pipeline=Pipeline(stages=stages, config=config) if stages else None,
        newest_row=newest_row,
    )
    limit = config["max_predictions"]
    return recall(
        matches(index, plain, criteria, kept=PRUNE_FACTOR * limit),
        plain,
        Statistics(
            patterns=len(index),
            vocabulary=index.vocabulary,
            probability=index.probability,
            trained=trained,
        ),
        max_predictions=limit,
        ranking=config["rank_sort_algo"],
        weigh=_weigh(index, config.get("affinity_emotive"), affinity_of),
    )


def _weigh(index: Index, emotive: str | None, affinity_of: AffinityOf) -> affinity.Weigh | None:
    if not emotive:
        return None

    @cache
    def weigh(symbol: str) -> float:
        return affinity.weight(affinity_of(symbol).get(emotive, 0.0), index.frequency(symbol))

    return weigh


def entropies(index: Index) -> Iterator[tuple[int, Entropies]]:
    """Per pattern the entropies over all of it, as training fixes them."""
    for pattern in index.patterns:
        probability = {symbol: index.probability(symbol) for symbol in set(pattern.tokens)}
        values = (
            metrics.entropy(pattern.tokens),
            metrics.normalized_entropy(pattern.tokens, index.vocabulary),
            metrics.global_normalized_entropy(pattern.tokens, probability, index.vocabulary),
        )
        yield pattern.row, values
