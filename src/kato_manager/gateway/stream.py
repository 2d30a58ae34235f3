"""One sequence of items for any number of readers, each at its own pace; late ones miss the old."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic, TypeVar

KEPT = 1000
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered(Generic[T]):
    number: int  # counts up from 1
    item: T


class Stream(Generic[T]):
    """Keeps the last items. All methods belong to the event loop's thread."""

    def __init__(self, kept: int = KEPT) -> None:
        self._items: deque[Numbered[T]] = deque(maxlen=kept)
        self._changed = asyncio.Event()
        self.last = 0
        self.readers = 0  # for those who feed it; kept by those who read
        self.is_over = False

    def post(self, item: T) -> None:
        self.last += 1
        self._items.append(Numbered(number=self.last, item=item))
        self._wake()

    def end(self) -> None:
        """No item follows: readers end when they have read the rest."""
        self.is_over = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def kept_after(self, number: int) -> list[Numbered[T]]:
        return [one for one in self._items if one.number > number]

    async def after(self, number: int, *, pause_s: float) -> AsyncIterator[Numbered[T] | None]:
        """Items with a higher number, as they come; None whenever `pause_s` passed without one."""
        while True:
            changed = self._changed
            for one in self.kept_after(number):
                number = one.number
                yield one
            if changed is not self._changed:
                continue
            if self.is_over:
                return
            try:
                async with asyncio.timeout(pause_s):
                    await changed.wait()
            except TimeoutError:
                yield None
