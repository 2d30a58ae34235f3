"""Vectors as symbols: sums and names. Source: KATO contract 2.2.

numpy is imported by the first vector, not before: a processor without vectors starts without it.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kato_processor.memory import VectorDimensionError

if TYPE_CHECKING:
    import numpy as np

PREFIX = "VCTR|"


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
