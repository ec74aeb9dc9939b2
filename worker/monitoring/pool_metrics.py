"""The counters of a pool's processes, in the one process that serves them.

Each process sends all of its values every two seconds; the last ones of a process that is gone go on counting.
prometheus_client's own way is a file a process, mapped into memory: a full disk would end the process that counts,
and the files of replaced processes stay. docs/decisions has the story.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from worker.log import log
from worker.monitoring.metrics import WorkerMetrics, worker_metrics

SENT_EVERY_S: Final = 2.0
#: Larger than all series of one process, compressed.
_LARGEST: Final = 1 << 18
_END: Final = b""

_Key = tuple[str, tuple[tuple[str, str], ...]]


def snapshot(metrics: WorkerMetrics) -> bytes:
    """Return all values of this process as one message."""
    samples = [
        [sample.name, sorted(sample.labels.items()), sample.value]
        for family in metrics.registry.collect()
        for sample in family.samples
    ]
    return zlib.compress(json.dumps([os.getpid(), samples]).encode())


class PoolMetrics(Collector):
    """Adds up what the processes of a pool have sent."""

    def __init__(self) -> None:
        self._mine, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._theirs.setblocking(False)
        self._lock = threading.Lock()
        self._live: dict[int, dict[_Key, float]] = {}
        self._gone: dict[_Key, float] = {}
        self._names = WorkerMetrics()
        self._thread = threading.Thread(target=self._take_in, name="refreshd-metrics", daemon=True)

    def listen(self) -> None:
        """Begin to take in what is sent. Called in the process that serves."""
        self._thread.start()

    def close(self) -> None:
        """Take in nothing more."""
        if self._thread.is_alive():
            self._theirs.send(_END)
            self._thread.join()
        self._mine.close()
        self._theirs.close()

    def send(self, message: bytes) -> None:
        """Send a process' values; what is not taken now is sent again in a moment."""
        try:
            self._theirs.send(message)
        except BlockingIOError:
            pass
        except OSError as error:
            log.warning("metrics_not_sent", bytes=len(message), error=str(error))

    def receive(self, message: bytes) -> None:
        """Take in one process' values."""
        pid, samples = json.loads(zlib.decompress(message))
        values = {(name, tuple(map(tuple, labels))): float(value) for name, labels, value in samples}
        with self._lock:
            self._live[int(pid)] = values

    def collect(self) -> Iterator[Metric]:
        """Return the sums; a gauge counts only while its process is there."""
        with self._lock:
            for pid in [pid for pid in self._live if not _is_alive(pid)]:
                self._retire(self._live.pop(pid))
            total = _added([self._gone, *self._live.values()])
        for family in self._names.registry.collect():
            names = {family.name, *(family.name + end for end in ("_total", "_bucket", "_count", "_sum"))}
            merged = Metric(family.name, family.documentation, family.type, family.unit)
            zeros = {(s.name, tuple(sorted(s.labels.items()))): 0.0 for s in family.samples}
            for (name, labels), value in sorted(
                (zeros | {k: v for k, v in total.items() if k[0] in names}).items()
            ):
                merged.add_sample(name, dict(labels), value)
            yield merged

    def _retire(self, values: dict[_Key, float]) -> None:
        gauges = {family.name for family in self._names.registry.collect() if family.type == "gauge"}
        self._gone = _added([self._gone, {k: v for k, v in values.items() if k[0] not in gauges}])

    def _take_in(self) -> None:
        while (message := self._mine.recv(_LARGEST)) != _END:
            try:
                self.receive(message)
            except (ValueError, zlib.error) as error:
                log.warning("metrics_unreadable", error=str(error))


class PoolSender:
    """A thread of a pool's process that sends its values, as long as it runs."""

    def __init__(self, pool: PoolMetrics) -> None:
        self._pool = pool
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="refreshd-metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send the last values, and no more."""
        self._stopping.set()
        self._thread.join(SENT_EVERY_S)

    def _go_on(self) -> None:
        sent = b""
        while True:
            ends = self._stopping.wait(SENT_EVERY_S)
            message = snapshot(worker_metrics())
            if message != sent:
                self._pool.send(message)
                sent = message
            if ends:
                return


def _added(parts: Iterable[dict[_Key, float]]) -> dict[_Key, float]:
    total: dict[_Key, float] = {}
    for part in parts:
        for key, value in part.items():
            total[key] = total.get(key, 0.0) + value
    return total


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
