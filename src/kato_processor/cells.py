"""Approximate search in a large collection: inverted lists of faiss, the extra `vectors`.

Source: J. Sivic, A. Zisserman, "Video Google" (2003); faiss calls it IVF.
"""

from importlib.util import find_spec
from math import isqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import faiss
    import numpy as np

_GROWTH = 4
_SEARCHED_SHARE = 8
_SAMPLES_PER_CELL = 64
_SEED = 1


def are_available() -> bool:
    """Whether the extra is installed."""
    return find_spec("faiss") is not None


class Cells:
    """Vectors by the nearest of some centres; a search looks into an eighth of the cells.

    The centres come from the first `first` vectors, and from the first 4, 16, ... times as many
    once there are so many: what is found depends on the vectors and their order alone. A vector
    that is not finite in single precision is in no cell.
    """

    def __init__(self, first: int) -> None:
        self._first = first
        self._trained = 0
        self._known = 0
        self._lists: faiss.IndexIVFFlat | None = None

    def near(self, rows: "np.ndarray", vector: "np.ndarray", count: int) -> "np.ndarray":
        """Numbers of about `count` rows that are likely the nearest, in ascending order.

        `rows` are those of the last call and perhaps more. Fewer than `count` come where the rows
        are too few for cells, or the searched cells too empty.
        """
        import numpy as np

        self._take(rows)
        sought = _single(vector[np.newaxis])
        if self._lists is None or not np.isfinite(sought).all():
            return np.empty(0, dtype=np.int64)
        _, found = self._lists.search(sought, count)
        return np.sort(found[0][found[0] >= 0])

    def _take(self, rows: "np.ndarray") -> None:
        while max(self._first, _GROWTH * self._trained) <= len(rows):
            self._trained = max(self._first, _GROWTH * self._trained)
            self._lists = None
        if self._trained and self._lists is None:
            self._lists = _lists(rows[: self._trained])
            self._known = 0
        if self._lists is not None and self._known < len(rows):
            numbers, vectors = _finite(rows, self._known)
            self._lists.add_with_ids(vectors, numbers)
            self._known = len(rows)


def _lists(sample: "np.ndarray") -> "faiss.IndexIVFFlat":
    import faiss

    _, vectors = _finite(sample, 0)
    dimension, cells = sample.shape[1], 2 * isqrt(len(sample))
    lists = faiss.IndexIVFFlat(faiss.IndexFlatL2(dimension), dimension, cells)
    lists.cp.seed = _SEED
    lists.cp.min_points_per_centroid = 1
    lists.cp.max_points_per_centroid = _SAMPLES_PER_CELL
    lists.nprobe = -(-cells // _SEARCHED_SHARE)
    lists.train(vectors)
    return lists


def _finite(rows: "np.ndarray", first: int) -> "tuple[np.ndarray, np.ndarray]":
    """Numbers and single-precision values of the finite rows from `first` on."""
    import numpy as np

    vectors = _single(rows[first:])
    finite = np.isfinite(vectors).all(axis=1)
    return np.flatnonzero(finite) + first, vectors[finite]


def _single(rows: "np.ndarray") -> "np.ndarray":
    import numpy as np

    with np.errstate(over="ignore"):
        return rows.astype(np.float32)
