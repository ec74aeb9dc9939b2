"""The exporter serves the fleet's numbers from SQL and Redis, names the store that is down, and shows no account."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import SecretStr
from sqlalchemy import Engine
from sqlmodel import Session
from typer.testing import CliRunner

from models.rate_limit import WaitReason
from models.tables.account import Account, Duty
from tests.support.exported import renamed, small_counts
from tests.support.server_process import free_port
from worker.cli import app
from worker.context import AppContext
from worker.db.engine import database_now, writing
from worker.db.fleet.counts import ExportedCounts, count
from worker.errors import RefreshdError
from worker.monitoring.exporter import FleetCollector
from worker.monitoring.fleet_gauges import of_redis
from worker.monitoring.metrics import OTHER, PROVIDERS_MAX
from worker.policy.gates import Gate
from worker.redis.counts import LiveWorkers, RedisCounts
from worker.redis.gates import gate_key
from worker.settings import Settings

DAY_S = 86_400
QUEUES = ("urgent", "refresh", "callback")
Value = Callable[..., float | None]


@pytest.fixture
def here(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[AppContext]:
    made = AppContext(
        Settings(database_url=SecretStr(database_url), redis_url=SecretStr(redis_url), data_dir=tmp_path)
    )
    yield made
    made.close()


def registry_of(here: AppContext, staff: Callable[[], LiveWorkers] | None = None) -> CollectorRegistry:
    registry = CollectorRegistry()
    nobody = LiveWorkers(workers={}, beats=0)
    collector = FleetCollector(here, queues=QUEUES, staff=staff or (lambda: nobody))
    collector.poll()
    registry.register(collector)
    return registry


def value_of(registry: CollectorRegistry) -> Value:
    return lambda name, **labels: registry.get_sample_value(name, labels)


def add(here: AppContext, *rows: dict[str, Any]) -> None:
    """Store accounts; `*_at` are seconds from now."""
    with writing(here.engine) as connection, Session(connection) as session:
        now = database_now(connection)
        for number, row in enumerate(rows):
            times = {name: now + value for name, value in row.items() if name.endswith("_at")}
            session.add(Account(**{"id": f"marker-{number}", "provider": "acme", **row, **times}))
        session.add(Duty(name="plan", finished_at=now - 30))
        session.flush()


def planned(at: float) -> dict[str, float]:
    return {"next_refresh_at": at, "plan_at": at}


def ending(at: float, *, fixed: bool) -> dict[str, Any]:
    return {"refresh_token_expires_at": at, "refresh_token_end_fixed": fixed}


def test_the_fleet_is_exported(here: AppContext) -> None:
    add(
        here,
        {"expires_at": 100.0, **planned(50)},
        {"expires_at": 3000.0, **ending(DAY_S * 5.0, fixed=True), **planned(2000)},
        {"provider": "initech", **ending(DAY_S * 5.0, fixed=False)},  # the next refresh moves it
        {"provider": "initech", "status": "disabled", **ending(DAY_S * 5.0, fixed=True)},
        {"expires_at": -20.0, **planned(-120)},  # late, and its token is gone
        {"expires_at": -20.0, "next_refresh_at": -120.0},  # set aside: nobody plans it
        {"expires_at": -20.0},  # `none`: nobody is to refresh it
        {"provider": "globex", "status": "reauthorize", "reason": "invalid_grant", "expires_at": -9.0},
        {"refresh_method": "callback", "callback": "mine", "generation": 3, "published_generation": 2},
    )
    value = value_of(registry_of(here))
    assert value("refreshd_up", store="database") == 1
    assert value("refreshd_accounts", provider="acme", status="active") == 6
    assert value("refreshd_accounts", provider="globex", status="reauthorize") == 1
    assert value("refreshd_accounts", provider="globex", status="active") == 0
    failing = {"provider": "globex", "status": "reauthorize", "reason": "invalid_grant"}
    assert value("refreshd_accounts_failing", **failing) == 1
    assert value("refreshd_accounts_overdue", provider="acme") == 1
    assert value("refreshd_accounts_overdue", provider="globex") == 0
    oldest_s = value("refreshd_oldest_overdue_seconds")
    assert oldest_s is not None
    assert 120 <= oldest_s < 180
    assert value("refreshd_tokens_expired_while_active", provider="acme") == 1
    assert value("refreshd_tokens_expiring", within_seconds="300") == 1
    assert value("refreshd_tokens_expiring", within_seconds="3600") == 2
    assert value("refreshd_refresh_tokens_expiring", within_seconds=str(DAY_S)) == 0
    assert value("refreshd_refresh_tokens_expiring", within_seconds=str(7 * DAY_S)) == 1
    assert value("refreshd_accounts_unpublished") == 1
    assert value("refreshd_callback_accounts", callback="mine") == 1
    planned_at = value("refreshd_job_last_success_timestamp_seconds", task="plan")
    assert planned_at is not None
    assert 30 <= here.clock.now() - planned_at < 90


def test_an_empty_fleet_that_was_never_planned(here: AppContext) -> None:
    value = value_of(registry_of(here))
    assert value("refreshd_oldest_overdue_seconds") == 0
    assert value("refreshd_job_last_success_timestamp_seconds", task="plan") == 0
    assert value("refreshd_duty_age_seconds", duty="plan") == float("inf")


def test_names_of_the_release_before_have_the_same_values(here: AppContext) -> None:
    add(here, {"expires_at": 100.0, **planned(50)})
    registry = registry_of(here)
    families = {one.name: one for one in registry.collect()}
    assert len(renamed()) == 5
    for old, new in renamed().items():
        if old == "refreshd_duty_age_seconds":  # an age, where the new one is a time
            age_s = registry.get_sample_value(old, {"duty": "plan"})
            assert age_s is not None
            assert 30 <= age_s < 90
        else:
            samples = [(one.labels, one.value) for one in families[old].samples]
            assert samples == [(one.labels, one.value) for one in families[new].samples]


def test_queues_and_closed_gates_are_exported(here: AppContext) -> None:
    now = here.clock.now()
    tenant, callback = "https://tenant.example", "callback:mine"
    add(
        here,
        {"held_by": "https://acme.example"},
        {"held_by": "https://acme.example"},
        {"provider": "globex", "held_by": tenant},
        {"refresh_method": "callback", "callback": "mine", "held_by": callback},
        {"provider": "globex", "held_by": f"{tenant}|client:c"},
        {"provider": "globex", "held_by": "https://open.example"},
    )
    here.redis.rpush("refresh", "one", "two")
    for name, gate in {
        "https://acme.example": Gate(cause=WaitReason.DOWN, provider="acme"),
        tenant: Gate(cause=WaitReason.DOWN, provider="globex@tenant.example"),
        callback: Gate(cause=WaitReason.DOWN, provider="acme"),
        f"{tenant}|client:c": Gate(cause=WaitReason.THROTTLED, until=now + 60, provider="globex"),
        "https://open.example": Gate(cause=WaitReason.THROTTLED, until=now - 1, provider="globex"),
    }.items():
        here.redis.set(gate_key("refreshd:", name), gate.dump())

    value = value_of(registry_of(here))
    assert value("refreshd_queue_messages", queue="refresh") == 2
    assert value("refreshd_queue_messages", queue="urgent") == 0
    assert value("refreshd_breaker_open", provider="acme") == 1
    assert value("refreshd_breaker_open", provider="callback:mine") == 1
    assert value("refreshd_provider_paused", provider="globex") == 1
    assert value("refreshd_hosts_down", provider="globex") == 1
    assert value("refreshd_gates_closed", cause=WaitReason.DOWN) == 3
    assert value("refreshd_gates_closed", cause=WaitReason.REFUSED) == 0
    assert value("refreshd_held_accounts", cause=WaitReason.DOWN) == 4
    assert value("refreshd_held_accounts", cause=WaitReason.THROTTLED) == 1


@pytest.mark.parametrize(("many", "is_open"), [((), 1), (("acme",), 0)])
def test_one_tenant_s_origin_is_not_its_provider(many: tuple[str, ...], is_open: int) -> None:
    gate = Gate(cause=WaitReason.DOWN, provider="acme@tenant.example")
    found = RedisCounts({}, {"https://tenant.example": gate})
    metrics = {one.name: one for one in of_redis(found, small_counts(), many_origins=many)}
    values = {sample.labels["provider"]: sample.value for sample in metrics["refreshd_breaker_open"].samples}
    assert values["acme"] == is_open


def test_workers_and_beats_are_exported(here: AppContext) -> None:
    staff = LiveWorkers(workers={"a@x": ["urgent", "refresh"], "b@x": ["refresh"]}, beats=2)
    value = value_of(registry_of(here, lambda: staff))
    assert value("refreshd_workers", queue="refresh") == 2
    assert value("refreshd_workers", queue="callback") == 0
    assert value("refreshd_beats") == 2


def test_numbers_of_a_store_that_is_down_are_left_out(here: AppContext, tmp_path: Path) -> None:
    gone = Settings(
        database_url=here.settings.database_url,
        redis_url=SecretStr(f"redis://127.0.0.1:{free_port()}/0"),
        data_dir=tmp_path,
    )
    without_redis = AppContext(gone)
    value = value_of(registry_of(without_redis))
    assert (value("refreshd_up", store="database"), value("refreshd_up", store="redis")) == (1, 0)
    assert value("refreshd_job_last_success_timestamp_seconds", task="plan") is not None
    assert value("refreshd_store_snapshot_age_seconds", store="redis") is None
    assert value("refreshd_queue_messages", queue="refresh") is None
    without_redis.close()

    file = tmp_path / "file"
    file.touch()
    nowhere = here.settings.model_copy(update={"database_url": SecretStr(f"sqlite:///{file}/refreshd.db")})
    without_sql = AppContext(nowhere)
    value = value_of(registry_of(without_sql))
    assert (value("refreshd_up", store="database"), value("refreshd_up", store="redis")) == (0, 1)
    assert value("refreshd_oldest_overdue_seconds") is None
    without_sql.close()


def test_a_storm_of_scrapes_asks_the_database_once(here: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Engine] = []

    def counted(engine: Engine) -> ExportedCounts:
        asked.append(engine)
        return count(engine)

    monkeypatch.setattr("worker.monitoring.exporter.count", counted)
    registry = registry_of(here)
    for _ in range(50):
        generate_latest(registry)
    assert len(asked) == 1


def test_no_account_is_a_label_and_providers_are_bounded(here: AppContext) -> None:
    add(here, *({"provider": f"p{number}"} for number in range(PROVIDERS_MAX + 3)))
    registry = registry_of(here)
    assert registry.get_sample_value("refreshd_accounts", {"provider": OTHER, "status": "active"}) == 3
    assert b"marker-" not in generate_latest(registry)


def test_the_error_for_a_port_in_use_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("REFRESHD_EXPORTER_PORT", str(taken.getsockname()[1]))
        result = CliRunner().invoke(app, ["exporter"])
    assert isinstance(result.exception, RefreshdError)
    assert "Another REFRESHD_EXPORTER_PORT" in str(result.exception)


def test_once_prints_the_metrics_and_exits_with_4_if_a_store_is_down(
    here: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert here.settings.database_url is not None
    monkeypatch.setenv("REFRESHD_DATABASE_URL", here.settings.database)
    monkeypatch.setenv("REFRESHD_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    result = CliRunner().invoke(app, ["exporter", "--once"])
    assert result.exit_code == 4
    assert 'refreshd_up{store="database"} 1.0' in result.stdout
    assert 'refreshd_up{store="redis"} 0.0' in result.stdout


def test_a_scrape_right_after_the_start_finds_the_gates_that_hold_accounts(here: AppContext) -> None:
    origin = "https://acme.example"
    add(here, {"held_by": origin})
    here.redis.set(gate_key("refreshd:", origin), Gate(cause=WaitReason.DOWN, provider="acme").dump())
    registry = CollectorRegistry()
    collector = FleetCollector(here, queues=QUEUES, staff=lambda: LiveWorkers(workers={}, beats=1))
    registry.register(collector)
    assert registry.get_sample_value("refreshd_up", {"store": "database"}) == 0
    collector.start()
    assert registry.get_sample_value("refreshd_up", {"store": "database"}) == 1
    assert registry.get_sample_value("refreshd_gates_closed", {"cause": WaitReason.DOWN}) == 1
    assert registry.get_sample_value("refreshd_beats") == 1
    collector.stop()
