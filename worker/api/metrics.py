"""What an API process counts, for Prometheus at its `/metrics`. An account or a key is never a label."""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from worker.monitoring.metrics_server import BuildInfo

#: A read takes a millisecond, a write some; one that waits for a worker or a provider takes seconds.
BUCKETS_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 15, 60)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class ApiMetrics:
    """The counters of one API process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "refreshd_api_requests_total",
            "Requests to the API, and their answers' status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._durations = Histogram(
            "refreshd_api_request_duration_seconds",
            "Time from a request's headers to the end of its answer.",
            ("method", "route"),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.registry.register(BuildInfo())

    def answered(self, method: str, route: str, status: int, took_s: float) -> None:
        """Count a request."""
        word = method if method in _METHODS else "other"
        self._requests.labels(word, route, str(status)).inc()
        self._durations.labels(word, route).observe(took_s)

    def exposed(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)
