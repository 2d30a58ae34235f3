"""What Prometheus scrapes: the fronts' counters, told when asked."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kato_manager.gateway.counters import BUCKETS_S, Counts
from kato_manager.gateway.idle import Counted
from kato_manager.model import Instance, Status

CONTENT_TYPE = CONTENT_TYPE_LATEST
_LABELS = ["instance"]  # of id "": what the gateway answered itself


class Collected(Collector):
    """Counters of the fronts and states of the registry, at the moment of the scrape."""

    def __init__(
        self,
        counted: Counted,
        instances: Callable[[], Mapping[str, Instance]],
        starts: Callable[[], Mapping[str, int]],
        unhealthy: Callable[[], Mapping[str, str]],
    ) -> None:
        self._counted = counted
        self._instances = instances
        self._starts = starts
        self._unhealthy = unhealthy

    def collect(self) -> Iterator[Metric]:
        counted = self._counted()
        yield _requests(counted)
        yield _latencies(counted)
        yield _gauge(
            "in_flight", "requests in flight", {k: c.in_flight for k, c in counted.items()}
        )
        yield _gauge("websockets", "open WebSockets", {k: c.websockets for k, c in counted.items()})
        yield _counter(
            "upstream_errors",
            "requests that the instance did not answer to the end",
            {k: c.upstream_errors for k, c in counted.items()},
        )
        yield _counter(
            "sent_bytes", "bytes of answers", {k: c.sent_bytes for k, c in counted.items()}
        )
        yield _counter("instance_starts", "starts seen since control began", self._starts())
        instances, unhealthy = self._instances(), self._unhealthy()
        yield _gauge(
            "instance_up",
            "1: recorded as running, and well at the last health check",
            {
                one: int(instance.status is Status.RUNNING and one not in unhealthy)
                for one, instance in instances.items()
            },
        )


def exposition(*collectors: Collector) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)


def _requests(counted: Mapping[str, Counts]) -> Metric:
    family = CounterMetricFamily(
        "kato_gateway_requests",
        "requests answered, by class of status",
        labels=[*_LABELS, "status"],
    )
    for one, counts in counted.items():
        for number, count in enumerate(counts.statuses, start=1):
            family.add_metric([one, f"{number}xx"], count)
    return family


def _latencies(counted: Mapping[str, Counts]) -> Metric:
    family = HistogramMetricFamily(
        "kato_gateway_request_duration_seconds",
        "from the head of a request to the end of its answer",
        labels=_LABELS,
    )
    for one, counts in counted.items():
        added, buckets = 0, []
        for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], counts.latencies, strict=True):
            added += count
            buckets.append((bound, added))
        family.add_metric([one], buckets=buckets, sum_value=counts.seconds)
    return family


def _gauge(name: str, help_: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"kato_gateway_{name}", help_, labels=_LABELS)
    for one, value in values.items():
        family.add_metric([one], value)
    return family


def _counter(name: str, help_: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"kato_gateway_{name}", help_, labels=_LABELS)
    for one, value in values.items():
        family.add_metric([one], value)
    return family
