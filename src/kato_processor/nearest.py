"""Which of a node's learned vectors are nearest. Source: KATO contract 2.2.

The search is exact; a collection of `LARGE` vectors is searched through `cells` where those are
available.
"""

from array import array
from typing import TYPE_CHECKING

from kato_processor import cells

if TYPE_CHECKING:
    import numpy as np

NEIGHBOURS = 3
LARGE = 65_536
_SHORTLIST = 16


class Collection:
    """Named vectors in the order they were learned, all of one dimension; its node locks it."""

    def __init__(self, large: int = LARGE) -> None:
        self._names: list[str] = []
        self._elements = array("d")
        self._squares = array("d")
        self._cells = cells.Cells(large) if cells.are_available() else None

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: str, elements: bytes) -> None:
        """Add a vector, given as the bytes of its float64 elements."""
        self._names.append(name)
        self._elements.frombytes(elements)

    def nearest(self, vector: "np.ndarray", count: int = NEIGHBOURS) -> list[str]:
        """Names of the nearest vectors by Euclidean distance, the nearest first.

        The distance has no limit; vectors of another dimension are near to none. Of equally near
        ones the first learned comes first.
        """
        import numpy as np

        if len(self._elements) != len(self) * vector.size or not len(self):
            return []
        rows = np.frombuffer(self._elements).reshape(len(self), -1)
        with np.errstate(all="ignore"):
            candidates = self._candidates(rows, vector, count)
            distances = np.linalg.norm(rows[candidates] - vector, axis=1)
        closest = candidates[np.argsort(distances, kind="stable")[:count]]
        return [self._names[place] for place in closest.tolist()]

    def _candidates(self, rows: "np.ndarray", vector: "np.ndarray", count: int) -> "np.ndarray":
        """Rows in ascending order, the nearest among them."""
        if self._cells:
            likely = self._cells.near(rows, vector, _SHORTLIST)
            if len(likely) >= count:
                return likely
        return _surely_near(rows, self._squared(rows), vector, count)

    def _squared(self, rows: "np.ndarray") -> "np.ndarray":
        """The squared length of every row, each computed once."""
        import numpy as np

        new = rows[len(self._squares) :]
        self._squares.frombytes(np.einsum("ij,ij->i", new, new).tobytes())
        return np.frombuffer(self._squares)


def _surely_near(
    rows: "np.ndarray", squares: "np.ndarray", vector: "np.ndarray", count: int
) -> "np.ndarray":
    """Rows that may be among the nearest, told by one product instead of all differences.

    |r - v|^2 = |r|^2 - 2 r.v + |v|^2 is wrong by rounding, so that whatever comes within the bound
    of the error stays (N. Higham, "Accuracy and Stability of Numerical Algorithms", 3.1).
    """
    import numpy as np

    if len(rows) <= count:
        return np.arange(len(rows))
    lengths = squares + vector @ vector
    estimates = lengths - 2 * (rows @ vector)
    error = (vector.size + 4) * np.finfo(np.float64).eps * lengths
    limit = np.partition(estimates + error, count - 1)[count - 1]
    if not np.isfinite(limit):
        return np.arange(len(rows))
    return np.flatnonzero((estimates - error <= limit) | ~np.isfinite(estimates))
