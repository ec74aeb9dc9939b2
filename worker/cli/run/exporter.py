"""`refreshd exporter`: the whole fleet's gauges for Prometheus, at one port."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Annotated, Final

import typer

from worker.broker.queues import QUEUES
from worker.celery.inspect import staff
from worker.cli.terminal.console import err
from worker.context import AppContext
from worker.errors import RefreshdError, Unreachable
from worker.settings import load_settings

_STOP_SIGNALS: Final = (signal.SIGTERM,)


def exporter(
    once: Annotated[
        bool,
        typer.Option("--once", help="Print the metrics once, and end; exit code 4 where a store is down."),
    ] = False,
) -> None:
    """One exporter serves all workers, at REFRESHD_METRICS_ADDRESS and REFRESHD_EXPORTER_PORT.

    It keeps running while a store is down, and reports that in `refreshd_up`. Each worker counts its own refreshes,
    latency and lag: REFRESHD_METRICS_PORT.
    """
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server

    from worker.monitoring.exporter import STORES, FleetCollector
    from worker.monitoring.metrics_server import BuildInfo

    settings = load_settings()
    registry = CollectorRegistry()
    registry.register(BuildInfo())
    here = AppContext(settings)
    collector = FleetCollector(here, queues=QUEUES, staff=staff)
    registry.register(collector)
    if once:
        collector.poll()
        sys.stdout.write(generate_latest(registry).decode())
        up = [registry.get_sample_value("refreshd_up", {"store": store}) for store in STORES]
        here.close()
        raise typer.Exit(0 if all(up) else Unreachable.exit_code)
    collector.start()
    address, port = settings.metrics_address, settings.exporter_port
    try:
        start_http_server(port, address, registry)
    except OSError as error:
        raise RefreshdError(
            f"can't serve at {address}:{port}: {error}. Another REFRESHD_EXPORTER_PORT or REFRESHD_METRICS_ADDRESS helps"
        ) from None
    err.print(f"Metrics of the fleet at http://{address}:{port}/metrics, until Ctrl-C")
    ended = threading.Event()
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
