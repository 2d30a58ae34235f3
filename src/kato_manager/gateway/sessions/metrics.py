"""What Prometheus hears of sessions: the guides' alerts as numbers."""

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kato_manager.gateway.sessions.sweeping import last_failure
from kato_sessions.store import Store


class Collected(Collector):
    """Asks the store at the moment of the scrape."""

    def __init__(self, store: Store, home: Path) -> None:
        self._store = store
        self._home = home

    def collect(self) -> Iterator[Metric]:
        active, stored = self._store.count(), self._store.backend.size_bytes()
        failed = int(bool(last_failure(self._home)))
        yield GaugeMetricFamily("kato_sessions_active", "live sessions", active)
        yield GaugeMetricFamily("kato_sessions_stored_bytes", "size of the store", stored)
        yield GaugeMetricFamily("kato_sessions_cleanup_failed", "1: the last cleanup did", failed)
