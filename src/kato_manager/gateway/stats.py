"""What instances use and how they answer, as numbers of this moment."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kato_manager import liveness
from kato_manager.errors import KatoError
from kato_manager.gateway.counters import BUCKETS_S, Counts
from kato_manager.gateway.idle import NONE
from kato_manager.manager import Manager
from kato_manager.model import Instance
from kato_manager.runtimes.base import Stats, Usage

PARALLEL = 8  # an engine takes its time over each


def document(manager: Manager, counted: Mapping[str, Counts]) -> dict[str, Any]:
    """`{"version": 1, "instances": [...], "gateway": {...}}`; counters are totals, not rates."""
    recorded = manager.registry.read()
    instances = [recorded[one] for one in recorded]
    states = liveness.words(recorded)
    with ThreadPoolExecutor(PARALLEL) as pool:
        used = list(pool.map(lambda one: _usage(manager, one), instances))
    shown = [
        {"id": one.id, "status": states[one.id], **_use(usage), **work(counted.get(one.id, NONE))}
        for one, usage in zip(instances, used, strict=True)
    ]
    return {"version": 1, "instances": shown, "gateway": work(counted.get("", NONE))}


def _usage(manager: Manager, instance: Instance) -> Usage | None:
    """None when it does not run or its engine does not tell."""
    if instance.handle is None or not instance.is_live:
        return None
    try:
        runtime = manager.runtimes[instance.runtime]
        return runtime.stats(instance.handle) if isinstance(runtime, Stats) else None
    except (KatoError, OSError):
        return None


def _use(usage: Usage | None) -> dict[str, Any]:
    return {
        "cpu_percent": usage and round(usage.cpu_percent, 2),
        "memory_bytes": usage and usage.memory_bytes,
        "memory_limit_bytes": usage and usage.memory_limit_bytes,
        "pids": usage and usage.pids,
    }


def work(counts: Counts) -> dict[str, Any]:
    return {
        "requests": counts.requests,
        "in_flight": counts.in_flight,
        "websockets": counts.websockets,
        "upstream_errors": counts.upstream_errors,
        "statuses": {f"{n}xx": count for n, count in enumerate(counts.statuses, start=1)},
        "sent_bytes": counts.sent_bytes,
        "p50_ms": quantile_ms(counts.latencies, 0.50),
        "p95_ms": quantile_ms(counts.latencies, 0.95),
    }


def quantile_ms(latencies: tuple[int, ...], share: float) -> float | None:
    """An estimate from the histogram, linear inside its bucket as Prometheus has it; None of none.

    What took longer than the last bound counts as that bound.
    """
    wanted, below, lower_s = share * sum(latencies), 0, 0.0
    for count, upper_s in zip(latencies, BUCKETS_S, strict=False):
        if count and below + count >= wanted:
            return round(1000 * (lower_s + (upper_s - lower_s) * (wanted - below) / count), 3)
        below, lower_s = below + count, upper_s
    return 1000 * BUCKETS_S[-1] if any(latencies) else None
