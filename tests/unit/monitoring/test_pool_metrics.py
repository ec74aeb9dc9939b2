"""The counters of a pool are the sums of its processes', of those that are gone too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from models.attempt import Outcome, Trigger
from tests.support.waiting import wait_until
from worker.monitoring.metrics import WorkerMetrics, worker_metrics
from worker.monitoring.pool_metrics import PoolMetrics, PoolSender, snapshot

REFUSALS = "refreshd_refusals_total"
BUSY = {"outcome": "busy", "reason": "lease_held"}


@pytest.fixture
def pool() -> Iterator[PoolMetrics]:
    made = PoolMetrics()
    yield made
    made.close()


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def message(pid: int, monkeypatch: pytest.MonkeyPatch, *, busy: int = 0, waiting: int = 0) -> bytes:
    metrics = WorkerMetrics(CollectorRegistry())
    metrics.results({(Outcome.BUSY, "lease_held"): busy}, Trigger.PLANNED)
    metrics.waiting(waiting)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid)
        return snapshot(metrics)


def served(pool: PoolMetrics, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(pool)
    return registry.get_sample_value(name, labels)


def test_what_processes_counted_is_added_up(pool: PoolMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.receive(message(os.getpid(), monkeypatch, busy=2))
    pool.receive(message(os.getppid(), monkeypatch, busy=3))
    pool.receive(message(os.getppid(), monkeypatch, busy=4))  # all its values, anew
    assert served(pool, REFUSALS, **BUSY) == 6


def test_a_process_that_is_gone_still_counts_but_nothing_of_it_waits(
    pool: PoolMetrics, dead_pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.receive(message(dead_pid, monkeypatch, busy=5, waiting=7))
    pool.receive(message(os.getpid(), monkeypatch, busy=1, waiting=2))
    for _ in range(2):
        assert served(pool, REFUSALS, **BUSY) == 6
        assert served(pool, "refreshd_answers_waiting") == 2


def test_what_was_never_counted_is_served_as_nought(pool: PoolMetrics) -> None:
    assert served(pool, "refreshd_interrupted_attempts_total") == 0


@pytest.fixture
def sender(pool: PoolMetrics) -> Iterator[PoolSender]:
    worker_metrics.cache_clear()
    pool.listen()
    made = PoolSender(pool)
    made.start()
    yield made
    worker_metrics.cache_clear()


def test_a_process_that_ends_sends_its_last_values(pool: PoolMetrics, sender: PoolSender) -> None:
    worker_metrics().interrupted(3)
    sender.stop()
    wait_until(lambda: served(pool, "refreshd_interrupted_attempts_total") == 3, "the values arrive")
