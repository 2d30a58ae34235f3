"""Measures the search for the nearest of 100,000 learned vectors of 128 numbers.

Three ways take turns: every difference computed, as the plainest numpy code would; our exact
search; our search through cells (the extra `vectors`). The vectors vary in 16 directions, with some
noise in all, as embeddings do.
"""

import statistics
import time

import numpy as np

from kato_processor.nearest import Collection

VECTORS = 100_000
DIMENSION = 128
DIRECTIONS = 16
SEARCHES = 60
NEIGHBOURS = 3


def main() -> None:
    random = np.random.default_rng(7)
    rows = _embeddings(random)
    near = rows[random.integers(0, VECTORS, SEARCHES)]
    sought = near + 0.1 * random.standard_normal(near.shape)
    exact, large = Collection(large=2 * VECTORS), Collection()
    for number, row in enumerate(rows):
        exact.add(str(number), row.tobytes())
        large.add(str(number), row.tobytes())
    began = time.perf_counter()
    large.nearest(sought[0])
    print(f"{'cells of 100,000 vectors made':<48} {time.perf_counter() - began:>8.1f} s")
    exact.nearest(sought[0])

    ways = {
        "every difference": lambda vector: _plainly(rows, vector),
        "exact": exact.nearest,
        "cells": large.nearest,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, list[set[str]]] = {name: [] for name in ways}
    for vector in sought:
        for name, search in ways.items():
            began = time.perf_counter()
            answer = search(vector)
            times[name].append(time.perf_counter() - began)
            found[name].append(set(answer))

    plain = statistics.median(times["every difference"])
    for name, taken in times.items():
        took = statistics.median(taken)
        print(f"{f'nearest of 100,000: {name}':<48} {took * 1000:>8.2f} ms {plain / took:>8.1f} x")
    if found["exact"] != found["every difference"]:
        raise SystemExit("the exact search is not exact")
    pairs = zip(found["cells"], found["exact"], strict=True)
    share = sum(len(ours & theirs) for ours, theirs in pairs) / (NEIGHBOURS * SEARCHES)
    print(f"{'found by cells of what is nearest':<48} {100 * share:>8.1f} %")


def _embeddings(random: np.random.Generator) -> np.ndarray:
    directions = random.standard_normal((DIRECTIONS, DIMENSION)) / 4
    placed = np.tanh(random.standard_normal((VECTORS, DIRECTIONS)) @ directions)
    return placed + 0.05 * random.standard_normal(placed.shape)


def _plainly(rows: np.ndarray, vector: np.ndarray) -> list[str]:
    distances = np.linalg.norm(rows - vector, axis=1)
    return [str(number) for number in np.argpartition(distances, NEIGHBOURS)[:NEIGHBOURS]]


if __name__ == "__main__":
    main()
