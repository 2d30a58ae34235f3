"""Passive health: a target that keeps failing is passed over for a while, then tried once."""

from dataclasses import dataclass

FAILURES_TO_OPEN = 3
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0


@dataclass(slots=True)
class Breaker:
    """Closed while it works; open after failures in a row; half open when the pause is over."""

    failures: int = 0
    open_until: float = 0.0

    def allows(self, now: float) -> bool:
        """Whether a request may go there. After a pause one may, and the next only if it worked."""
        if self.failures < FAILURES_TO_OPEN:
            return True
        if now < self.open_until:
            return False
        self.open_until = now + FIRST_PAUSE_S
        return True

    def succeeded(self) -> None:
        self.failures = 0

    def failed(self, now: float) -> None:
        self.failures += 1
        beyond = self.failures - FAILURES_TO_OPEN
        if beyond >= 0:
            self.open_until = now + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(beyond, 10))
