"""Serves a worker's metrics at REFRESHD_METRICS_PORT: one port a worker.

What can't be served is logged and nothing more: tokens are kept fresh without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from worker.log import log
from worker.monitoring.metrics import worker_metrics
from worker.settings import Settings

BUILD_INFO: Final = "refreshd_build_info"


class BuildInfo(Collector):
    """Which refreshd this is."""

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(BUILD_INFO, "The version, as a label of the number 1.", labels=["version"])
        info.add_metric([version("refreshd")], 1)
        yield info


_server: WSGIServer | None = None


def registry() -> CollectorRegistry:
    """Return everything that this worker serves."""
    made = worker_metrics().registry
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=made)
    made.register(BuildInfo())
    return made


def serve_metrics(settings: Settings, *, in_one_process: bool) -> None:
    """Serve, where a port is set and this process is the one that counts. Called once the pool has started."""
    global _server
    if settings.metrics_port is None or _server is not None:
        return
    if not in_one_process:
        _not_served(
            settings, "a prefork pool counts in processes of its own", "run this worker with -P threads"
        )
        return
    try:
        _server, _ = start_http_server(settings.metrics_port, settings.metrics_address, registry())
    except OSError as error:
        _not_served(
            settings, str(error), "give each worker of this machine a REFRESHD_METRICS_PORT of its own"
        )
        return
    log.info("metrics_served", address=settings.metrics_address, port=settings.metrics_port)


def _not_served(settings: Settings, error: str, remedy: str) -> None:
    address, port = settings.metrics_address, settings.metrics_port
    log.error("metrics_not_served", port=port, address=address, error=error, remedy=remedy)
