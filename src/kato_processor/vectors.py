"""Vectors as symbols: their names and their nearest neighbours. Source: KATO contract 2.2.

numpy is imported by the first vector, not before: a processor without vectors starts without it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kato_processor.memory import VectorDimensionError

if TYPE_CHECKING:
    import numpy as np

PREFIX = "VCTR|"
NEIGHBOURS = 3


def summed(vectors: Sequence[Sequence[float]]) -> "np.ndarray":
    """All vectors of an observation added up; a vector of length 1 is added to every element.

    Raises VectorDimensionError.
    """
    import numpy as np

    lengths = [len(vector) for vector in vectors]
    if len(set(lengths) - {1}) > 1:
        raise VectorDimensionError(lengths)
    with np.errstate(all="ignore"):
        total = np.zeros(1 if set(lengths) == {1} else max(set(lengths) - {1}))
        for vector in vectors:
            total = total + np.asarray(vector, dtype=np.float64)
    return total


def name(vector: "np.ndarray") -> str:
    """`VCTR|` and the SHA-1 of the text numpy prints for the float64 array."""
    import numpy as np

    with np.printoptions(precision=8, threshold=1000, edgeitems=3, linewidth=75, suppress=False):
        text = str(vector)
    return PREFIX + hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Collection:
    """The learned vectors of a node; exact search by Euclidean distance."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._rows: list[bytes] = []
        self._matrix: np.ndarray | None = None

    def extend(self, vectors: Iterable[tuple[str, bytes]]) -> None:
        for vector_name, elements in vectors:
            self._names.append(vector_name)
            self._rows.append(elements)
            self._matrix = None

    def nearest(self, vector: "np.ndarray", count: int = NEIGHBOURS) -> list[str]:
        """Names of the nearest vectors, whatever their distance; none of another dimension."""
        import numpy as np

        if not self._names or len(self._rows[0]) != vector.nbytes:
            return []
        if self._matrix is None:
            self._matrix = np.frombuffer(b"".join(self._rows)).reshape(len(self._rows), -1)
        with np.errstate(all="ignore"):
            distances = np.linalg.norm(self._matrix - vector, axis=1)
        near = np.argpartition(distances, count)[:count] if len(distances) > count else None
        chosen = range(len(distances)) if near is None else near.tolist()
        return [self._names[place] for place in chosen]
