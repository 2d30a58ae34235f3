"""Invariants that hold for every memory and every pattern."""

import difflib
import math
from collections import Counter
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz

from kato_processor import metrics, recalling
from kato_processor.index import Index
from kato_processor.matching import Alphabet, Events, align, blocks, cut, flat
from kato_processor.memory import KEPT_ENTRIES, Memory, Observation, event_of, window
from kato_processor.naming import node_file, pattern_hash
from kato_processor.prediction import Recall
from kato_processor.settings import effective
from kato_processor.steps import Context, observe

SYMBOLS = st.sampled_from("abcdefg")
TOKENS = st.lists(SYMBOLS, max_size=14)
EVENT = st.lists(SYMBOLS, min_size=1, max_size=3)
PATTERN = st.lists(EVENT, min_size=1, max_size=6)
PATTERNS = st.lists(PATTERN, min_size=1, max_size=8)
ANY_TEXT = st.text(max_size=8)
FEW = settings(max_examples=80, deadline=None)


def recalled(patterns: list[Events], memory: Events, **config: Any) -> Recall:
    index = Index()
    times = Counter(str(events) for events in patterns if len(flat(events)) > 1)
    for row, events in enumerate(patterns, 1):
        if frequency := times[str(events)]:
            name = pattern_hash(events)
            index.put(row=row, name=name, events=events, frequency=frequency, emotives=[])
    return recalling.recalled(
        index, memory, effective(config), trained={}, affinity_of=lambda _symbol: {}
    )


def texts(tokens: list[str], state: list[str]) -> tuple[str, str]:
    alphabet = Alphabet(state)
    return alphabet.text(tokens), alphabet.text(state)


def assert_blocks_of_difflib(pattern: list[str], state: list[str]) -> None:
    found = blocks(*texts(pattern, state))

    expected = difflib.SequenceMatcher(None, pattern, state, autojunk=False).get_matching_blocks()
    assert [tuple(block) for block in found] == [tuple(block) for block in expected[:-1]]


@given(TOKENS, TOKENS)
def test_blocks_are_those_of_difflib(pattern: list[str], state: list[str]) -> None:
    assert_blocks_of_difflib(pattern, state)


@given(st.lists(st.sampled_from("ab"), min_size=20, max_size=60), st.integers(0, 40))
def test_long_blocks_are_those_of_difflib(pattern: list[str], place: int) -> None:
    assert_blocks_of_difflib(pattern, [*pattern[place:], "c", *pattern[: place + 18], *pattern])


def test_a_symbol_repeated_many_times_is_matched_at_once() -> None:
    (block,) = blocks(*texts(["a"] * 50_000, ["a"] * 50_000))

    assert tuple(block) == (0, 0, 50_000)


@given(PATTERN, TOKENS)
def test_events_are_cut_whole_and_none_is_lost(events: Events, state: list[str]) -> None:
    tokens, sizes = flat(events), [len(event) for event in events]
    alignment = align(*texts(tokens, state))
    first = state[alignment.places[0]] if alignment.places else ""

    where = cut(tokens, sizes, alignment, first)

    assert 0 <= where.present <= where.future <= len(events)
    present = flat(events[where.present : where.future])
    assert not alignment.places or set(tokens[alignment.start : alignment.end]) <= set(present)


@FEW
@given(PATTERNS, PATTERN)
def test_predictions_are_consistent(patterns: list[Events], memory: Events) -> None:
    state = flat(memory)

    for prediction in recalled(patterns, memory, recall_threshold=0.1).predictions:
        parts = [*prediction["past"], *prediction["present"], *prediction["future"]]
        assert parts == prediction["sequence"]
        assert 0.1 <= prediction["similarity"] <= 1
        for bounded in ("evidence", "confidence", "normalized_entropy", "pattern_probability"):
            assert -1e-9 <= prediction[bounded] <= 1 + 1e-9, bounded
        assert -1 <= prediction["snr"] <= 1
        assert len(prediction["missing"]) == len(prediction["present"])
        assert len(prediction["extras"]) == len(memory)
        assert set(prediction["matches"]) <= set(state)
        assert not set(flat(prediction["missing"])) & set(prediction["matches"])
        assert not set(flat(prediction["extras"])) & set(flat(prediction["present"]))
        assert (prediction["similarity"] == 1) == (flat(prediction["sequence"]) == state)


@FEW
@given(PATTERNS, PATTERN, st.integers(min_value=1, max_value=4))
def test_predictions_are_ranked_limited_and_repeatable(
    patterns: list[Events], memory: Events, limit: int
) -> None:
    whole = recalled(patterns, memory, recall_threshold=0.0)
    again = recalled(list(patterns), memory, recall_threshold=0.0)
    cut_off = recalled(patterns, memory, recall_threshold=0.0, max_predictions=limit)

    assert whole == again
    assert len(cut_off.predictions) == min(limit, len(whole.predictions))
    matching = [p["potential"] for p in whole.predictions if p["matches"]]
    assert all(one >= other - 1e-11 for one, other in pairwise(matching))
    assert [bool(p["matches"]) for p in whole.predictions] == sorted(
        (bool(p["matches"]) for p in whole.predictions), reverse=True
    )
    shares = [p["bayesian_posterior"] for p in whole.predictions]
    assert math.isclose(sum(shares), 1, abs_tol=1e-9) or sum(shares) == 0


@FEW
@given(PATTERNS, PATTERN, st.floats(min_value=0.05, max_value=1))
def test_the_index_misses_nothing(patterns: list[Events], memory: Events, threshold: float) -> None:
    found = {
        prediction["name"]
        for prediction in recalled(patterns, memory, recall_threshold=threshold).predictions
    }

    state = flat(memory)
    expected = {
        pattern_hash(events)
        for events in patterns
        if len(flat(events)) > 1 and fuzz.ratio(flat(events), state) / 100 >= threshold + 1e-9
    }
    assert expected <= found


@FEW
@given(PATTERNS, PATTERN)
def test_near_symbols_never_pass_a_confidence_of_one(
    patterns: list[Events], memory: Events
) -> None:
    longer = [[[symbol * 3 + "x" for symbol in event] for event in events] for events in patterns]
    near = [[symbol * 3 + "y" for symbol in event] for event in memory]

    for prediction in recalled(longer, near, fuzzy_token_threshold=0.6).predictions:
        assert prediction["confidence"] <= 1
        assert prediction["similarity"] <= 1
        assert {a["observed"] for a in prediction["anomalies"]} <= set(flat(near))
        assert len(prediction["anomalies"]) == len(prediction["matches"])


@given(st.lists(ANY_TEXT), st.sets(ANY_TEXT))
def test_symbols_are_sorted_vectors_first(strings: list[str], names: set[str]) -> None:
    event = event_of(strings, names, sort=True)

    assert event == sorted(names) + sorted(strings)


@given(st.lists(st.dictionaries(ANY_TEXT, st.floats(allow_nan=False))), st.integers(1, 100))
def test_the_window_keeps_the_newest(entries: list[dict[str, float]], persistence: int) -> None:
    kept = window(entries, persistence)

    assert kept == entries[max(0, len(entries) - persistence) :]


@settings(max_examples=20, deadline=None)
@given(st.integers(min_value=0, max_value=2 * KEPT_ENTRIES))
def test_the_memory_keeps_the_newest_thousand(count: int) -> None:
    memory = Memory()
    for number in range(count):
        memory.observe(Observation(emotives={"n": float(number)}), [str(number)])

    kept = [str(number) for number in range(max(0, count - KEPT_ENTRIES), count)]
    assert flat(memory.events) == kept
    assert [int(entry["n"]) for entry in memory.emotives] == [int(symbol) for symbol in kept]
    assert memory.time == count


@given(st.integers(1, 5), st.integers(0, 20), st.sampled_from(["CLEAR", "ROLLING"]))
def test_auto_learning_never_lets_the_memory_grow(length: int, count: int, mode: str) -> None:
    config = effective({"max_pattern_length": length, "stm_mode": mode})
    context = Context(config=config, vector_symbols=_no_vectors, newest_row=0)
    memory = Memory()

    lessons = [observe(memory, Observation(strings=[str(n)]), context) for n in range(count)]

    learned = [lesson for lesson in lessons if lesson]
    assert all(len(lesson.events) == length for lesson in learned)
    assert len(memory.events) < length
    assert len(learned) == (
        count // length if mode == "CLEAR" or length == 1 else max(0, count - length + 1)
    )


def _no_vectors(_vectors: Any) -> Any:
    raise AssertionError


@given(st.text(max_size=300), st.text(max_size=300))
def test_different_nodes_have_different_files(one: str, other: str) -> None:
    assert (node_file(one).lower() == node_file(other).lower()) == (one == other)
    assert len(node_file(one).encode()) <= 255
    assert "/" not in node_file(one)


@given(TOKENS, st.dictionaries(SYMBOLS, st.floats(0, 1)), st.integers(0, 50))
def test_entropies_are_never_negative(
    present: list[str], probability: dict[str, float], vocabulary: int
) -> None:
    assert metrics.entropy(present) >= 0
    assert metrics.normalized_entropy(present, vocabulary) >= 0
    assert metrics.global_normalized_entropy(present, probability, vocabulary) >= 0
