"""At most a few threads at once, in order of arrival."""

import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Lets `size` threads through at a time; usable after a fork.

    Parsing is work for one interpreter: a hundred threads at it take turns every few milliseconds
    and all finish last, while a few at a time finish one after the other.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._fill()

    @contextmanager
    def turn(self) -> Iterator[None]:
        if self._pid != os.getpid():
            self._fill()
        places = self._places
        places.get()
        try:
            yield
        finally:
            places.put(None)

    def _fill(self) -> None:
        self._pid = os.getpid()
        self._places: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(self._size):
            self._places.put(None)
