"""What a worker counts: each attempt once, by words that are bounded, and never by account."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from models.tables.attempt import AttemptEntry, Outcome, Trigger
from tests.integration.conftest import Bench
from worker.clock import Clock
from worker.monitoring.metrics import OTHER, PROVIDERS_MAX, WorkerMetrics, worker_metrics
from worker.settings import Settings

Value = Callable[..., float | None]


@pytest.fixture
def bench(settings: Settings) -> Iterator[Bench]:
    worker_metrics.cache_clear()
    made = Bench(settings)
    yield made
    made.runtime.close()
    worker_metrics.cache_clear()


@pytest.fixture
def value() -> Value:
    def of(name: str, **labels: str) -> float | None:
        return worker_metrics().registry.get_sample_value(name, labels)

    return of


def succeed(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"access_token": "new", "expires_in": 3600})


def refuse(_: httpx.Request) -> httpx.Response:
    return httpx.Response(400, json={"error": "invalid_grant"})


def test_each_attempt_is_counted_once_by_provider_outcome_and_reason(bench: Bench, value: Value) -> None:
    bench.add("one")
    bench.add("two", provider="globex")
    bench.answer = succeed
    bench.refresh("one")
    bench.answer = refuse
    bench.refresh("two")

    count = "refreshd_refreshes_total"
    assert value(count, provider="acme", outcome="refreshed", reason="refreshed") == 1
    assert value(count, provider="globex", outcome="reauthorize", reason="invalid_grant") == 1
    assert value("refreshd_provider_call_duration_seconds_count", provider="acme") == 1


def test_the_lag_of_a_planned_refresh_is_from_due_to_sent(bench: Bench, value: Value) -> None:
    bench.add(next_refresh_at=bench.runtime.clock.now() - 42)
    bench.answer = succeed
    bench.refresh()
    lag = value("refreshd_lag_seconds_sum", provider="acme")
    assert lag is not None
    assert 42 <= lag < 60


def test_a_forced_refresh_says_nothing_of_lag(bench: Bench, value: Value) -> None:
    bench.add(next_refresh_at=bench.runtime.clock.now() + 1000)
    bench.answer = succeed
    bench.refresh(trigger=Trigger.FORCED)
    assert value("refreshd_lag_seconds_count", provider="acme") is None


def test_an_attempt_that_was_left_open_is_counted_when_it_is_found(bench: Bench, value: Value) -> None:
    now = bench.runtime.clock.now()
    bench.add(claim_attempt="left-open", claim_until=now - 1)
    bench.answer = succeed
    assert value("refreshd_interrupted_attempts_total") == 0
    bench.refresh()
    assert value("refreshd_interrupted_attempts_total") == 1


def test_no_account_is_in_what_is_served(bench: Bench) -> None:
    bench.add("marker-account")
    bench.answer = succeed
    bench.refresh("marker-account")
    assert b"marker-account" not in generate_latest(worker_metrics().registry)


def test_many_providers_share_one_label_beyond_the_first() -> None:
    metrics = WorkerMetrics(CollectorRegistry())
    for number in range(PROVIDERS_MAX + 7):
        metrics.attempt_ended(f"provider-{number}", _ended(), stored=True)
    labels = {"outcome": "refreshed", "reason": "refreshed"}
    count = "refreshd_refreshes_total"
    assert metrics.registry.get_sample_value(count, {"provider": OTHER, **labels}) == 7
    assert metrics.registry.get_sample_value(count, {"provider": "provider-0", **labels}) == 1


def test_refusals_are_counted_by_reason_and_reports_by_outcome() -> None:
    metrics = WorkerMetrics(CollectorRegistry())
    metrics.results({(Outcome.REFRESHED, "refreshed"): 2, (Outcome.BUSY, "lease_held"): 3}, Trigger.PLANNED)
    metrics.results({(Outcome.REFRESHED, "refreshed"): 4}, Trigger.REPORTED)
    metrics.reports_dropped("repeated", 5)
    metrics.message_refused("forged")
    of = metrics.registry.get_sample_value
    assert of("refreshd_refusals_total", {"outcome": "busy", "reason": "lease_held"}) == 3
    assert of("refreshd_refusals_total", {"outcome": "refreshed", "reason": "refreshed"}) is None
    assert of("refreshd_reports_total", {"outcome": "refreshed"}) == 4
    assert of("refreshd_reports_total", {"outcome": "repeated"}) == 5
    assert of("refreshd_messages_refused_total", {"reason": "forged"}) == 1


def _ended() -> AttemptEntry:
    return AttemptEntry(
        id="a",
        account_id="acct",
        trigger=Trigger.PLANNED,
        opened_at=Clock().now(),
        generation=1,
        config_version=1,
        outcome=Outcome.REFRESHED,
        reason="refreshed",
    )
