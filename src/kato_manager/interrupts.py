"""Ctrl-C and SIGTERM, kept waiting where they must not strike."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Let them strike when the block has ended; yields a way to ask whether one waits.

    A second one strikes at once. Python handles signals in the main thread alone: blocks in other
    threads need nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    waiting: list[int] = []
    handlers = {
        one: handler for one in _SIGNALS if callable(handler := signal.getsignal(one))
    }  # what is not one of Python's raises nothing

    def wait(number: int, frame: FrameType | None) -> None:
        if waiting:
            handlers[signal.Signals(number)](number, frame)
        waiting.append(number)

    try:
        for one in handlers:
            signal.signal(one, wait)
        yield lambda: bool(waiting)
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)
        if waiting:
            signal.raise_signal(waiting[0])
