"""The filter pipeline: stages that thin out candidates. Source: KATO contract 2.7."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kato_processor.index import Index, Pattern

if TYPE_CHECKING:
    import numpy as np

_STORED_PERMUTATIONS = 100
_STORED_BANDS = 20
_STORED_ROWS = 5
_MERSENNE_PRIME = (1 << 61) - 1
_MAX_HASH = (1 << 32) - 1
_SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The stages of a session's config, in order; unknown names were refused before."""

    stages: Sequence[str]
    config: Mapping[str, Any]

    def run(self, index: Index, state: Sequence[str]) -> list[int]:
        """Slots that pass every stage; each stage sees what the one before left."""
        if self.stages[0] == "rapidfuzz":
            return []  # KATO's stages in Python refine, they never begin
        tests: dict[str, Callable[[Pattern], bool]] = {
            "length": _length_test(state, self.config),
            "jaccard": _jaccard_test(state, self.config),
            "minhash": _minhash_test(state, self.config) if "minhash" in self.stages else _any,
            "bloom": _any,  # KATO's test fails on event structure and is then skipped
            "rapidfuzz": _any,  # the test that every candidate has to pass in the end
        }
        slots = self._first(index, state)
        for stage in self.stages:
            test = tests[stage]
            slots = [slot for slot in slots if test(index.patterns[slot])]
            slots = slots[: self.config["max_candidates_per_stage"]]
        return slots

    def _first(self, index: Index, state: Sequence[str]) -> list[int]:
        """A stage that asks for a common symbol lets the index look for it."""
        if self.stages[0] in {"jaccard", "minhash"}:
            return sorted(slot for slot, _ in index.sharing(list(dict.fromkeys(state)), 0))
        return index.everything()


def _any(_pattern: Pattern) -> bool:
    return True


def _length_test(state: Sequence[str], config: Mapping[str, Any]) -> Callable[[Pattern], bool]:
    low = max(1, int(len(state) * (config["length_min_ratio"] or 0.5)))
    high = len(state) * (config["length_max_ratio"] or 2.0)
    return lambda pattern: low <= len(pattern.tokens) <= high


def _jaccard_test(state: Sequence[str], config: Mapping[str, Any]) -> Callable[[Pattern], bool]:
    wanted = frozenset(state)
    overlap = config["jaccard_min_overlap"] or 2
    threshold = config["jaccard_threshold"] or 0.3

    def test(pattern: Pattern) -> bool:
        tokens = frozenset(pattern.tokens)
        common = len(tokens & wanted)
        return common >= overlap and common / len(tokens | wanted) >= threshold

    return test


def _minhash_test(state: Sequence[str], config: Mapping[str, Any]) -> Callable[[Pattern], bool]:
    """Any of 20 bands of 5 rows equal, then the estimated Jaccard index at the threshold.

    Signatures always use these sizes, whatever the session asks for, as the stored ones of KATO.
    """
    sketch = MinHash()
    wanted = sketch.signature(state)
    threshold = config["minhash_threshold"] or 0.7

    def test(pattern: Pattern) -> bool:
        equal = sketch.signature(pattern.tokens) == wanted
        bands = equal.reshape(_STORED_BANDS, _STORED_ROWS).all(axis=1)
        return bool(bands.any() and equal.mean() >= threshold)

    return test


class MinHash:
    """Signatures as datasketch makes them: 32 bits of SHA-1, permuted modulo 2^61 - 1, seed 1."""

    def __init__(self) -> None:
        import numpy as np

        random = np.random.RandomState(_SEED)
        pairs = [
            (
                random.randint(1, _MERSENNE_PRIME, dtype=np.uint64),
                random.randint(0, _MERSENNE_PRIME, dtype=np.uint64),
            )
            for _ in range(_STORED_PERMUTATIONS)
        ]
        self._factors, self._offsets = np.array(pairs, dtype=np.uint64).T
        self._hashes: dict[str, np.ndarray] = {}

    def signature(self, symbols: Iterable[str]) -> "np.ndarray":
        import numpy as np

        smallest: np.ndarray = np.minimum.reduce(
            [self._permuted(symbol) for symbol in set(symbols)]
        )
        return smallest

    def _permuted(self, symbol: str) -> "np.ndarray":
        import numpy as np

        known = self._hashes.get(symbol)
        if known is None:
            digest = hashlib.sha1(symbol.encode(), usedforsecurity=False).digest()
            value = np.uint64(int.from_bytes(digest[:4], "little"))
            with np.errstate(over="ignore"):
                mixed = (self._factors * value + self._offsets) % np.uint64(_MERSENNE_PRIME)
            known = self._hashes[symbol] = np.bitwise_and(mixed, np.uint64(_MAX_HASH))
        return known
