"""When a crashed instance is started again, and when that is given up. Pure: times come in."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from kato_manager.model import InstanceSpec

ATTEMPTS = 5  # crashes in a row; the last one is final
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
STEADY_S = 60.0  # who lived this long did not crash in a row

Jitter = Callable[[], float]  # 0 <= value < 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is known about one instance that crashes; `due_s` None: given up."""

    crashes: int = 0
    due_s: float | None = 0.0
    started_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Exponential backoff with full jitter on its upper half, so that many do not come at once."""

    attempts: int = ATTEMPTS
    first_pause_s: float = FIRST_PAUSE_S
    longest_pause_s: float = LONGEST_PAUSE_S
    steady_s: float = STEADY_S

    def crashed(
        self, before: Trouble | None, now_s: float, jitter: Jitter = random.random
    ) -> Trouble:
        """The trouble after one more crash."""
        known = before or Trouble()
        if known.started_s and now_s - known.started_s >= self.steady_s:
            known = Trouble()
        crashes = known.crashes + 1
        if crashes >= self.attempts:
            return Trouble(crashes=crashes, due_s=None)
        pause_s = min(self.longest_pause_s, self.first_pause_s * 2 ** (crashes - 1))
        return Trouble(crashes=crashes, due_s=now_s + pause_s * (0.5 + jitter() / 2))

    def started(self, trouble: Trouble, now_s: float) -> Trouble:
        return replace(trouble, started_s=now_s, due_s=0.0)


def wants_restart(spec: InstanceSpec, exit_code: int | None) -> bool:
    """Whether the end of it calls for a restart; an unknown exit code counts as a failure."""
    if spec.restart == "on-failure":
        return exit_code != 0
    return spec.restart in {"always", "unless-stopped"}
