"""Time as a test wants it."""

from dataclasses import dataclass

START_MS = 1_700_000_000_000


@dataclass
class DrivenClock:
    """A clock that only a test moves."""

    now: int = START_MS

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> None:
        self.now += ms
