"""Who may rest: how long each instance has had nothing to do, and who has to make room."""

from collections.abc import Callable, Iterable, Mapping

from kato_manager.gateway.counters import Counts
from kato_manager.model import Instance, Status

Counted = Callable[[], Mapping[str, Counts]]
NONE = Counts()


def is_quiet(counts: Counts) -> bool:
    """Nothing in flight, no WebSocket open."""
    return not (counts.in_flight or counts.websockets)


class Activity:
    """When each instance last had something to do; what was never seen counts from the first look.

    Times are CLOCK_MONOTONIC, so a machine that was suspended does not find everything idle.
    """

    def __init__(self) -> None:
        self._last_s: dict[str, float] = {}

    def look(self, ids: Iterable[str], counted: Mapping[str, Counts], now_s: float) -> None:
        """Requests in flight and open WebSockets are activity as long as they last."""
        for one in ids:
            seen = counted.get(one, NONE)
            known_s = self._last_s.get(one, now_s)
            self._last_s[one] = max(known_s, seen.last_activity_s) if is_quiet(seen) else now_s

    def touch(self, instance_id: str, at_s: float) -> None:
        """It was started then, for somebody who is about to use it."""
        self._last_s[instance_id] = max(at_s, self._last_s.get(instance_id, at_s))

    def forget(self, instance_id: str) -> None:
        self._last_s.pop(instance_id, None)

    def idle_s(self, instance_id: str, now_s: float) -> float:
        return now_s - self._last_s.get(instance_id, now_s)


def overdue(instances: Iterable[Instance], activity: Activity, now_s: float) -> list[Instance]:
    """Those of the running that have been idle for longer than they are to be."""
    return [
        one
        for one in instances
        if one.spec.idle_timeout_s is not None
        and activity.idle_s(one.id, now_s) >= one.spec.idle_timeout_s
    ]


def least_recently_used(
    instances: Iterable[Instance],
    activity: Activity,
    counted: Mapping[str, Counts],
    now_s: float,
) -> Instance | None:
    """The one to stop for another: started on demand, without work, the longest of them."""
    candidates = [
        one
        for one in instances
        if one.status is Status.RUNNING
        and one.operation is None
        and one.spec.start == "on-demand"
        and is_quiet(counted.get(one.id, NONE))
    ]
    return max(candidates, key=lambda one: activity.idle_s(one.id, now_s), default=None)
