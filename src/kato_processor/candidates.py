"""Which patterns come near the state, and how each lines up. Source: KATO contract 2.6.1, 2.6.2."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kato_processor import fuzzy, metrics
from kato_processor.filters import Pipeline
from kato_processor.fuzzy import Reading
from kato_processor.index import Index, Pattern
from kato_processor.match import TIE_DIGITS, Match
from kato_processor.matching import align, cut

Candidate = tuple[Pattern, float, Reading]
_TO_COUNT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What counts as near. `newest_row` leaves out patterns learned later."""

    threshold: float
    token_matching: bool = True
    fuzzy_threshold: float = 0.0
    pipeline: Pipeline | None = None
    newest_row: int | None = None


def matches(index: Index, plain: Reading, criteria: Criteria, *, kept: int) -> list[Match]:
    """The patterns whose similarity reaches the threshold, lined up with the memory.

    Of more than `kept` only the best by score: (evidence + confidence) * snr + fragment term, then
    similarity, frequency and name; those without a match are the last.
    """
    found = [
        _lined_up(*candidate)
        for candidate in _near(index, plain, criteria)
        if criteria.newest_row is None or candidate[0].row <= criteria.newest_row
    ]
    return sorted(found, key=_pruning_order)[:kept] if len(found) > kept else found


def _near(index: Index, plain: Reading, criteria: Criteria) -> Iterable[Candidate]:
    near: fuzzy.Near = {}
    if criteria.fuzzy_threshold > 0:
        near = fuzzy.near_symbols(plain.state, list(index.symbols()), criteria.fuzzy_threshold)
    if criteria.token_matching:
        return _near_by_tokens(index, plain, criteria, near)
    return _near_by_characters(index, plain, criteria, near)


def _near_by_tokens(
    index: Index, plain: Reading, criteria: Criteria, near: fuzzy.Near
) -> Iterable[Candidate]:
    from rapidfuzz.distance import LCSseq

    for slot, shared in _shared(index, plain.state, criteria, near):
        pattern = index.patterns[slot]
        reading = _read(pattern, plain, near)
        common = shared if shared < _TO_COUNT else LCSseq.similarity(pattern.tokens, reading.state)
        similarity = metrics.similarity(common, len(pattern.tokens), len(plain.state))
        if similarity >= criteria.threshold:
            yield pattern, similarity, reading


def _shared(
    index: Index, state: Sequence[str], criteria: Criteria, near: fuzzy.Near
) -> Iterable[tuple[int, int]]:
    """Slots to look at with the number of symbols that they share, `_TO_COUNT` for any."""
    if criteria.pipeline:
        slots = criteria.pipeline.run(index, state)
    elif criteria.threshold <= 0:
        slots = index.everything()
    elif not near:
        return index.sharing(state, criteria.threshold)
    else:
        slots = [slot for slot, _ in index.sharing(list(dict.fromkeys([*state, *near])), 0)]
    return [(slot, _TO_COUNT) for slot in slots]


def _near_by_characters(
    index: Index, plain: Reading, criteria: Criteria, near: fuzzy.Near
) -> Iterable[Candidate]:
    """Similarity of the joined texts: the normalised indel ratio of rapidfuzz."""
    from rapidfuzz import process
    from rapidfuzz.fuzz import ratio

    slots = criteria.pipeline.run(index, plain.state) if criteria.pipeline else index.everything()
    hits = process.extract(
        " ".join(plain.state),
        [" ".join(index.patterns[slot].tokens) for slot in slots],
        scorer=ratio,
        processor=None,
        score_cutoff=fuzzy.cutoff(criteria.threshold),
        limit=None,
    )
    for _, score, place in hits:
        if score / 100 >= criteria.threshold:
            pattern = index.patterns[slots[place]]
            yield pattern, score / 100, _read(pattern, plain, near)


def _read(pattern: Pattern, plain: Reading, near: fuzzy.Near) -> Reading:
    chosen = fuzzy.substitutions(pattern.tokens, near) if near else {}
    return fuzzy.reading(plain.memory, chosen) if chosen else plain


def _lined_up(pattern: Pattern, similarity: float, reading: Reading) -> Match:
    alignment = align(reading.alphabet.text(pattern.tokens), reading.text)
    first = reading.state[alignment.places[0]] if alignment.places else ""
    return Match(
        pattern=pattern,
        similarity=similarity,
        reading=reading,
        alignment=alignment,
        cut=cut(pattern.tokens, pattern.sizes, alignment, first),
    )


def _pruning_order(match: Match) -> tuple[bool, float, float, int, str]:
    pattern, matched = match.pattern, match.matched
    score = metrics.score(
        metrics.evidence(matched, len(pattern.tokens)),
        metrics.confidence(matched, sum(pattern.sizes[match.cut.present : match.cut.future])),
        metrics.signal_to_noise(matched, match.unmatched),
        metrics.fragmentation(match.alignment.blocks),
    )
    return (
        not matched,
        -round(score, TIE_DIGITS),
        -round(match.similarity, TIE_DIGITS),
        -pattern.frequency,
        pattern.name,
    )
