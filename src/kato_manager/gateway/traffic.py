"""What the fronts have counted, per instance, summed over the fronts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Counts since the fronts began, except `in_flight` and `websockets`, which are of now."""

    requests: int = 0
    in_flight: int = 0
    websockets: int = 0
    upstream_errors: int = 0
    duration_s: float = 0.0  # of all requests together
    buckets: tuple[int, ...] = ()  # requests per bound of `BUCKETS_S`, and the slower ones

    @property
    def is_quiet(self) -> bool:
        return not (self.in_flight or self.websockets)


Counted = Callable[[], Mapping[str, Traffic]]
NONE = Traffic()
