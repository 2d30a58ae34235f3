"""At most a few threads at once, in order of arrival."""

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Lets `size` threads through at a time, first come first served; usable after a fork.

    Parsing is work for one interpreter: a hundred threads at it take turns every few milliseconds
    and all finish last, while a few at a time finish one after the other. A place is handed to who
    has waited longest: among waiters of one lock the last may go first, and some wait for ever.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._reset()

    @contextmanager
    def turn(self) -> Iterator[None]:
        if self._pid != os.getpid():
            self._reset()
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._free = self._size
        self._waiting: deque[threading.Lock] = deque()

    def _enter(self) -> None:
        with self._mutex:
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            mine.acquire()  # given back by who leaves
        except BaseException:  # Ctrl-C: the place may have been handed over just now
            self._give_up(mine)
            raise

    def _give_up(self, mine: threading.Lock) -> None:
        with self._mutex:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return
        self._leave()

    def _leave(self) -> None:
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
