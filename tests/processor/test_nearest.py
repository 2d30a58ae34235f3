"""The vectors nearest to one: exactly, and in large collections through cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kato_processor import cells
from kato_processor.nearest import Collection

NUMBERS = st.floats(width=64) | st.sampled_from([0.0, 1.0, -1.0, 1e8, 1e8 + 1e-7, 1e200, -1e200])
DIMENSION = 3
VECTORS = st.lists(NUMBERS, min_size=DIMENSION, max_size=DIMENSION)


def collected(rows: np.ndarray, large: int = 10**9) -> Collection:
    collection = Collection(large)
    for number, row in enumerate(rows):
        collection.add(str(number), row.tobytes())
    return collection


def brute_force(rows: np.ndarray, vector: np.ndarray, count: int) -> list[str]:
    with np.errstate(all="ignore"):
        distances = np.linalg.norm(rows - vector, axis=1)
    return [str(number) for number in np.argsort(distances, kind="stable")[:count]]


def clustered(count: int, dimension: int = 16) -> np.ndarray:
    random = np.random.default_rng(1)
    centres = random.standard_normal((20, dimension))
    spread = 0.3 * random.standard_normal((count, dimension))
    return centres[random.integers(0, len(centres), count)] + spread


@given(st.lists(VECTORS, min_size=1, max_size=30), VECTORS, st.integers(1, 4))
def test_are_those_of_the_smallest_distances(
    listed: list[list[float]], sought: list[float], count: int
) -> None:
    rows, vector = np.array(listed), np.array(sought)

    assert collected(rows).nearest(vector, count) == brute_force(rows, vector, count)


def test_are_told_apart_far_from_the_origin() -> None:
    rows = 1e6 + clustered(2000) * 1e-7

    for vector in rows[:50]:
        assert collected(rows).nearest(vector) == brute_force(rows, vector, 3)


def test_are_the_first_learned_among_equally_near_ones() -> None:
    rows = np.ones((10, 2))

    assert collected(rows).nearest(np.zeros(2)) == ["0", "1", "2"]


@pytest.mark.parametrize("sought", [[], [1.0], [1.0, 2.0, 3.0, 4.0]])
def test_are_none_of_another_dimension(sought: list[float]) -> None:
    assert collected(np.ones((4, 3))).nearest(np.array(sought)) == []


def test_are_none_in_an_empty_collection() -> None:
    assert Collection().nearest(np.array([1.0])) == []


def test_are_found_while_the_collection_grows() -> None:
    rows = clustered(300)
    collection = Collection()

    for number, row in enumerate(rows):
        collection.add(str(number), row.tobytes())
        assert collection.nearest(row) == brute_force(rows[: number + 1], row, 3)


def test_are_looked_for_in_cells_once_the_collection_is_large() -> None:
    rows = clustered(1000)
    made = cells.Cells(1000)

    assert made.near(rows[:999], rows[0], 5).size == 0
    likely = made.near(rows, rows[0], 5)
    assert likely.size == 5
    assert 0 in likely


def test_in_a_large_collection_are_nearly_always_the_exact_ones() -> None:
    rows = clustered(5000)
    collection, sought = collected(rows, large=1000), rows[::50] + 0.01

    found = [set(collection.nearest(vector)) for vector in sought]

    exact = [set(brute_force(rows, vector, 3)) for vector in sought]
    agreed = sum(len(ours & theirs) for ours, theirs in zip(found, exact, strict=True))
    assert agreed >= 0.98 * 3 * len(sought)


def test_in_a_large_collection_include_the_vector_itself() -> None:
    rows = clustered(2000)
    collection = collected(rows, large=500)

    assert all(collection.nearest(row)[0] == str(number) for number, row in enumerate(rows))


def test_of_a_large_collection_do_not_depend_on_when_it_was_searched() -> None:
    rows = clustered(3000)
    at_once, by_and_by = collected(rows, large=256), Collection(256)
    for number, row in enumerate(rows):
        by_and_by.add(str(number), row.tobytes())
        if number % 7 == 0:
            by_and_by.nearest(row)

    assert all(at_once.nearest(row) == by_and_by.nearest(row) for row in rows[::20] + 0.05)


def test_of_a_large_collection_may_be_asked_for_with_what_no_cell_holds() -> None:
    rows = clustered(1000)
    rows[7], rows[8], rows[9] = np.nan, np.inf, 1e300
    collection = collected(rows, large=100)

    for vector in (rows[7], rows[8], rows[9], np.full(16, 1e299)):
        assert collection.nearest(vector) == brute_force(rows, vector, 3)


def test_are_exact_whatever_the_size_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "are_available", lambda: False)
    rows = clustered(3000)
    collection = collected(rows, large=100)

    for vector in rows[::40] + 0.05:
        assert collection.nearest(vector) == brute_force(rows, vector, 3)
