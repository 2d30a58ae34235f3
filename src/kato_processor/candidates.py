"""Which patterns come near the state, and how each lines up. Source: KATO contract 2.6.1, 2.6.2."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kato_processor import fuzzy, metrics
from kato_processor.ensemble import TIE_DIGITS, Match
from kato_processor.filters import Pipeline
from kato_processor.index import Index, Pattern
from kato_processor.matching import Alignment, Cut, Events, align, cut, flat, positions

_NO_ANOMALIES: Mapping[str, fuzzy.Anomaly] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What counts as near. `newest_row` leaves out patterns learned later."""

    threshold: float
    token_matching: bool = True
    fuzzy_threshold: float = 0.0
    pipeline: Pipeline | None = None
    newest_row: int | None = None


class Candidate(NamedTuple):
    """A pattern near enough. `state` and `memory` are what was observed, read in its symbols."""

    pattern: Pattern
    similarity: float
    state: Sequence[str]
    memory: Events
    where: Mapping[str, Sequence[int]]
    anomalies: Mapping[str, fuzzy.Anomaly]


def matches(index: Index, memory: Events, criteria: Criteria, *, kept: int) -> list[Match]:
    """The patterns whose similarity reaches the threshold, lined up with the memory.

    Of more than `kept` only the best by score are told in full: (evidence + confidence) * snr +
    fragment term, then similarity, frequency and name.
    """
    state = flat(memory)
    lineups = [
        _lined_up(candidate)
        for candidate in _near(index, memory, state, criteria)
        if criteria.newest_row is None or candidate.pattern.row <= criteria.newest_row
    ]
    if len(lineups) > kept:
        lineups = sorted(lineups, key=_pruning_order)[:kept]
    return [_told(lineup, memory, state) for lineup in lineups]


def _near(
    index: Index, memory: Events, state: list[str], criteria: Criteria
) -> Iterable[Candidate]:
    if not criteria.token_matching:
        return _near_by_characters(index, memory, state, criteria)
    if criteria.fuzzy_threshold > 0:
        return _near_by_fuzzy_tokens(index, memory, state, criteria)
    return _near_by_tokens(index, memory, state, criteria)


def _near_by_tokens(
    index: Index, memory: Events, state: list[str], criteria: Criteria
) -> Iterable[Candidate]:
    from rapidfuzz.distance import LCSseq

    where = positions(state)
    for slot, shared in _shared(index, state, criteria):
        pattern = index.patterns[slot]
        common = shared if shared < 2 else LCSseq.similarity(pattern.tokens, state)  # noqa: PLR2004
        similarity = metrics.similarity(common, len(pattern.tokens), len(state))
        if similarity >= criteria.threshold:
            yield Candidate(pattern, similarity, state, memory, where, _NO_ANOMALIES)


def _shared(index: Index, state: list[str], criteria: Criteria) -> list[tuple[int, int]]:
    """Slots to look at with the number of symbols they may share (2 = to be counted)."""
    if criteria.pipeline:
        return [(slot, 2) for slot in criteria.pipeline.run(index, state, criteria.threshold)]
    if criteria.threshold > 0:
        return index.sharing(state, criteria.threshold)
    return [(slot, 2) for slot in index.everything()]


def _near_by_characters(
    index: Index, memory: Events, state: list[str], criteria: Criteria
) -> Iterable[Candidate]:
    """Similarity of the joined texts: the normalised indel ratio of rapidfuzz."""
    from rapidfuzz import fuzz, process

    slots = (
        criteria.pipeline.run(index, state, criteria.threshold)
        if criteria.pipeline
        else index.everything()
    )
    texts = [" ".join(index.patterns[slot].tokens) for slot in slots]
    hits = process.extract(
        " ".join(state),
        texts,
        scorer=fuzz.ratio,
        processor=None,
        score_cutoff=criteria.threshold * 100 or None,
        limit=None,
    )
    for _, score, place in hits:
        if score / 100 >= criteria.threshold:
            pattern = index.patterns[slots[place]]
            chosen = _substitutions(pattern, state, criteria)
            read = fuzzy.translated(state, chosen)
            yield _read(pattern, score / 100, read, memory, chosen)


def _substitutions(
    pattern: Pattern, state: list[str], criteria: Criteria
) -> dict[str, fuzzy.Anomaly]:
    if criteria.fuzzy_threshold <= 0:
        return {}
    near = fuzzy.near_symbols(state, list(pattern.tokens), criteria.fuzzy_threshold)
    return fuzzy.substitutions(pattern.tokens, near)


def _near_by_fuzzy_tokens(
    index: Index, memory: Events, state: list[str], criteria: Criteria
) -> Iterable[Candidate]:
    from rapidfuzz.distance import LCSseq

    near = fuzzy.near_symbols(state, list(index.symbols()), criteria.fuzzy_threshold)
    widened = [near_symbol.expected for found in near.values() for near_symbol in found]
    if criteria.pipeline:
        slots = criteria.pipeline.run(index, state, criteria.threshold)
    elif criteria.threshold > 0:
        slots = [slot for slot, _ in index.sharing(list(dict.fromkeys([*state, *widened])), 0)]
    else:
        slots = index.everything()
    for slot in slots:
        pattern = index.patterns[slot]
        chosen = fuzzy.substitutions(pattern.tokens, near)
        read = fuzzy.translated(state, chosen)
        common = LCSseq.similarity(pattern.tokens, read)
        similarity = metrics.similarity(common, len(pattern.tokens), len(state))
        if similarity >= criteria.threshold:
            yield _read(pattern, similarity, read, memory, chosen)


def _read(
    pattern: Pattern,
    similarity: float,
    read: list[str],
    memory: Events,
    chosen: dict[str, fuzzy.Anomaly],
) -> Candidate:
    readings = fuzzy.translated_events(memory, chosen)
    return Candidate(pattern, similarity, read, readings, positions(read), chosen)


class Lineup(NamedTuple):
    """A candidate with its alignment, before anything is spelled out."""

    candidate: Candidate
    alignment: Alignment
    cut: Cut


def _lined_up(candidate: Candidate) -> Lineup:
    pattern, read = candidate.pattern, candidate.state
    alignment = align(pattern.tokens, candidate.where, len(read))
    first = read[alignment.places[0]] if alignment.places else ""
    return Lineup(
        candidate=candidate,
        alignment=alignment,
        cut=cut(pattern.tokens, pattern.sizes, alignment, first),
    )


def _pruning_order(lineup: Lineup) -> tuple[float, float, int, str]:
    candidate, matched = lineup.candidate, len(lineup.alignment.places)
    pattern, where = candidate.pattern, lineup.cut
    score = metrics.score(
        metrics.evidence(matched, len(pattern.tokens)),
        metrics.confidence(matched, sum(pattern.sizes[where.present : where.future])),
        metrics.signal_to_noise(matched, len(candidate.state) - matched),
        metrics.fragmentation(lineup.alignment.blocks),
    )
    return (-round(score, TIE_DIGITS), -candidate.similarity, -pattern.frequency, pattern.name)


def _told(lineup: Lineup, memory: Events, state: Sequence[str]) -> Match:
    candidate, places = lineup.candidate, lineup.alignment.places
    return Match(
        pattern=candidate.pattern,
        similarity=candidate.similarity,
        matches=[candidate.state[place] for place in places],
        observed=[state[place] for place in places],
        blocks=lineup.alignment.blocks,
        cut=lineup.cut,
        memory=memory,
        readings=candidate.memory,
        unmatched=len(state) - len(places),
        anomalies=[
            candidate.anomalies[state[place]]
            for place in places
            if state[place] in candidate.anomalies
        ],
    )
