"""Serves a worker's metrics at REFRESHD_METRICS_PORT: one port a worker, whatever its pool is.

What can't be served is said and nothing more: tokens are kept fresh without it.
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
from worker.monitoring.pool_metrics import PoolMetrics, PoolSender
from worker.settings import Settings

BUILD_INFO: Final = "refreshd_build_info"


class BuildInfo(Collector):
    """Which refreshd this is."""

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(BUILD_INFO, "The version, as a label of the number 1.", labels=["version"])
        info.add_metric([version("refreshd")], 1)
        yield info


_server: WSGIServer | None = None
_pool: PoolMetrics | None = None
_sender: PoolSender | None = None


def prepare_pool() -> None:
    """Make what processes of a pool send their values through. Called before any of them is forked."""
    global _pool  # noqa: PLW0603  (one per worker, and what is forked inherits it)
    _pool = PoolMetrics()


def registry() -> CollectorRegistry:
    """Return everything that this worker serves."""
    if _pool is not None:
        made = CollectorRegistry()
        made.register(_pool)
    else:
        made = worker_metrics().registry
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=made)
    made.register(BuildInfo())
    return made


def serve_metrics(settings: Settings) -> None:
    """Serve, where a port is set. Called once the pool has started."""
    global _server
    if settings.metrics_port is None or _server is not None:
        return
    if _pool is not None:
        _pool.listen()
    try:
        _server, _ = start_http_server(settings.metrics_port, settings.metrics_address, registry())
    except OSError as error:
        log.error(
            "metrics_not_served",
            port=settings.metrics_port,
            address=settings.metrics_address,
            error=str(error),
            remedy="give each worker of this machine a REFRESHD_METRICS_PORT of its own",
        )
        return
    log.info("metrics_served", address=settings.metrics_address, port=settings.metrics_port)


def begin_to_send() -> None:
    """Have this process of a pool send what it counts."""
    global _sender  # noqa: PLW0603
    if _server is not None:  # forked after it began to listen: the port is not ours to hold
        _server.socket.close()
    worker_metrics.cache_clear()  # a lock of it could have been held at the moment of the fork
    if _pool is not None:
        _sender = PoolSender(_pool)
        _sender.start()


def stop_sending() -> None:
    """Send the last values of this process."""
    global _sender  # noqa: PLW0603
    if _sender is not None:
        _sender.stop()
        _sender = None
