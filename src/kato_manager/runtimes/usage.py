"""What one container uses now, from the engine's counters."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kato_manager.runtimes.base import Usage
from kato_manager.runtimes.container import moment

if TYPE_CHECKING:
    from docker import APIClient

WINDOW_S = 0.25  # between the two readings of the CPU; the engine's own pair takes a second


def measure(api: "APIClient", container_id: str) -> Usage:
    """CPU over a quarter of a second, the rest as it stands; 100 % is one core."""
    first = api.stats(container_id, stream=False, one_shot=True)
    time.sleep(WINDOW_S)
    return between(first, api.stats(container_id, stream=False, one_shot=True))


def between(first: Mapping[str, Any], second: Mapping[str, Any]) -> Usage:
    memory = second["memory_stats"]
    networks = (second.get("networks") or {}).values()
    return Usage(
        cpu_percent=_cpu_percent(first, second),
        memory_bytes=memory.get("usage", 0) - _page_cache(memory.get("stats") or {}),
        memory_limit_bytes=memory.get("limit") or None,
        received_bytes=sum(one["rx_bytes"] for one in networks),
        sent_bytes=sum(one["tx_bytes"] for one in networks),
        pids=(second.get("pids_stats") or {}).get("current"),
    )


def _cpu_percent(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    started, ended = moment(first["read"]), moment(second["read"])
    if started is None or ended is None or ended <= started:
        return 0.0
    used_ns = (
        second["cpu_stats"]["cpu_usage"]["total_usage"]
        - first["cpu_stats"]["cpu_usage"]["total_usage"]
    )
    return float(max(0.0, used_ns / 1e9 / (ended - started).total_seconds() * 100))


def _page_cache(stats: Mapping[str, int]) -> int:
    """What `docker stats` leaves out too; the name depends on the cgroup version."""
    return stats.get("total_inactive_file", stats.get("inactive_file", 0))
