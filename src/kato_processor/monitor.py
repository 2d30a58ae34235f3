"""Counters of this process and their short history. Source of the names: KATO contract 1.6."""

import os
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Point = tuple[float, float]

DATABASES = ("clickhouse", "qdrant", "redis")
KEPT_POINTS = 2000
SAMPLE_EVERY_S = 10.0
MINUTE_S = 60.0
_RATE_EVENTS = 10_000
METRIC_NAMES = (
    "kato_cpu_usage_percent",
    "kato_memory_usage_percent",
    "kato_memory_usage_bytes",
    "kato_disk_usage_percent",
    "load_average_1m",
    "kato_requests_total",
    "kato_request_duration_seconds",
    "kato_errors_total",
    "sessions_created",
    "sessions_deleted",
    "session_operations",
    *(f"{name}_{kind}" for name in DATABASES for kind in ("operations", "response_time", "errors")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Shares of the machine, 0..100, and this process's own memory."""

    cpu_percent: float
    memory_percent: float
    disk_percent: float
    memory_bytes: int
    load_average: float


@dataclass(slots=True)
class Monitor:
    """One per process; written by the event loop only."""

    cache_s: float = 5.0
    started_at: float = field(default_factory=time.time)
    requests: int = 0
    errors: int = 0
    busy_s: float = 0.0
    in_flight: int = 0
    peak_in_flight: int = 0
    sessions_created: int = 0
    sessions_deleted: int = 0
    operations: int = 0
    _arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=_RATE_EVENTS))
    _failures: deque[float] = field(default_factory=lambda: deque(maxlen=_RATE_EVENTS))
    _creations: deque[float] = field(default_factory=lambda: deque(maxlen=_RATE_EVENTS))
    _series: dict[str, deque[Point]] = field(
        default_factory=lambda: {name: deque(maxlen=KEPT_POINTS) for name in METRIC_NAMES}
    )
    _resources: tuple[float, Resources] | None = None
    _sampled_at: float = 0.0

    @property
    def uptime_s(self) -> float:
        return time.time() - self.started_at

    def arrived(self) -> None:
        self.requests += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self._arrivals.append(time.time())

    def answered(self, status: int, took_s: float) -> None:
        self.in_flight -= 1
        self.busy_s += took_s
        if status >= 500:  # noqa: PLR2004
            self.errors += 1
            self._failures.append(time.time())

    def created(self) -> None:
        self.sessions_created += 1
        self._creations.append(time.time())

    def deleted(self) -> None:
        self.sessions_deleted += 1

    def resources(self) -> Resources:
        """Measured at most every `cache_s` seconds."""
        now = time.monotonic()
        if self._resources is None or now - self._resources[0] > self.cache_s:
            self._resources = (now, _measured())
        return self._resources[1]

    def per_minute(self) -> Json:
        """What happened during the last minute."""
        return {
            "requests": _recent(self._arrivals),
            "errors": _recent(self._failures),
            "sessions_created": _recent(self._creations),
        }

    def performance(self) -> Json:
        return {
            "total_requests": self.requests,
            "total_errors": self.errors,
            "error_rate": self.errors / self.requests if self.requests else 0.0,
            "average_response_time": self.busy_s / self.requests if self.requests else 0.0,
        }

    def databases(self) -> Json:
        """KATO's three servers, which this processor does without."""
        idle = {"operations": 0, "errors": 0, "avg_response_time": 0.0}
        return {name: dict(idle) for name in DATABASES}

    def sample(self, *, at_once: bool = False) -> None:
        """Add a point to every series when one is due."""
        now = time.time()
        if not at_once and now - self._sampled_at < SAMPLE_EVERY_S:
            return
        self._sampled_at = now
        for name, value in self._values().items():
            self._series[name].append((now, value))

    def _values(self) -> dict[str, float]:
        resources, performance = self.resources(), self.performance()
        return dict.fromkeys(METRIC_NAMES, 0.0) | {
            "kato_cpu_usage_percent": resources.cpu_percent,
            "kato_memory_usage_percent": resources.memory_percent,
            "kato_memory_usage_bytes": float(resources.memory_bytes),
            "kato_disk_usage_percent": resources.disk_percent,
            "load_average_1m": resources.load_average,
            "kato_requests_total": float(self.requests),
            "kato_request_duration_seconds": performance["average_response_time"],
            "kato_errors_total": float(self.errors),
            "sessions_created": float(self.sessions_created),
            "sessions_deleted": float(self.sessions_deleted),
            "session_operations": float(self.operations),
        }

    def history(self, name: str, minutes: float) -> list[Json]:
        """The points of the last minutes, oldest first; empty for an unknown name."""
        since = time.time() - minutes * MINUTE_S
        return [
            {"timestamp": at, "value": value, "labels": {}}
            for at, value in self._series.get(name, ())
            if at >= since
        ]


def _recent(times: deque[float]) -> int:
    since = time.time() - MINUTE_S
    return sum(at >= since for at in times)


def _measured() -> Resources:
    import psutil

    return Resources(
        cpu_percent=psutil.cpu_percent(),
        memory_percent=psutil.virtual_memory().percent,
        disk_percent=psutil.disk_usage("/").percent,
        memory_bytes=psutil.Process().memory_info().rss,
        load_average=os.getloadavg()[0],
    )
