"""Who may rest: how long each instance has had nothing to do, and who has to make room."""

from collections.abc import Iterable, Mapping

from kato_manager.gateway.traffic import NONE, Traffic
from kato_manager.model import Instance, Status


class Activity:
    """When each instance last had something to do, told by looking at the counters now and then.

    What was never seen working counts from when it was first seen. Times are of one monotonic
    clock, so a machine that was suspended does not find everything idle.
    """

    def __init__(self) -> None:
        self._last_s: dict[str, float] = {}
        self._requests: dict[str, tuple[int, int]] = {}

    def look(self, ids: Iterable[str], traffic: Mapping[str, Traffic], now_s: float) -> None:
        """Requests in flight and open WebSockets are activity as long as they last."""
        ids = set(ids)
        for gone in self._last_s.keys() - ids:
            del self._last_s[gone], self._requests[gone]
        for one in ids:
            seen = traffic.get(one, NONE)
            counted = (seen.requests, seen.upstream_errors)
            if not seen.is_quiet or counted != self._requests.get(one):
                self._last_s[one] = now_s
            self._requests[one] = counted

    def touch(self, instance_id: str, now_s: float) -> None:
        """It was started for somebody who is about to use it."""
        self._last_s[instance_id] = now_s
        self._requests.setdefault(instance_id, (0, 0))

    def idle_s(self, instance_id: str, now_s: float) -> float:
        return now_s - self._last_s.get(instance_id, now_s)


def overdue(instances: Iterable[Instance], activity: Activity, now_s: float) -> list[Instance]:
    """Running instances that have been idle for longer than they are to be."""
    return [
        one
        for one in instances
        if one.status is Status.RUNNING
        and one.operation is None
        and one.spec.idle_timeout_s is not None
        and activity.idle_s(one.id, now_s) >= one.spec.idle_timeout_s
    ]


def least_recently_used(
    instances: Iterable[Instance],
    activity: Activity,
    traffic: Mapping[str, Traffic],
    now_s: float,
) -> Instance | None:
    """The one to stop for another: started on demand, without work, the longest of them."""
    candidates = [
        one
        for one in instances
        if one.status is Status.RUNNING
        and one.operation is None
        and one.spec.start == "on-demand"
        and traffic.get(one.id, NONE).is_quiet
    ]
    return max(candidates, key=lambda one: activity.idle_s(one.id, now_s), default=None)
