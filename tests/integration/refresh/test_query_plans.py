"""The cost of a periodic task, of `status`, `doctor` and the exporter does not grow with accounts that are not concerned.

Each runs against a filled database; the query plan of every statement that it sends is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from models.pause_scope import Scope
from models.rate_limit import Limits
from models.tables.attempt import Trigger
from tests.support.large_fleet import PAUSED_PROVIDER, analyze, fill, pause_one_provider
from tests.support.query_plans import COUNTING_INDEX, SMALL_INDEXES, Statement, recorded, traced, whole_reads
from tests.support.services import RedisServer
from worker.broker.queues import QUEUES
from worker.cli import status
from worker.crypto.cipher import generate_key
from worker.db.accounts.filter import Filter
from worker.db.accounts.stored import Accounts
from worker.db.engine import database_now, is_sqlite, reading, writing
from worker.db.planning.asked_for import make_due
from worker.db.planning.glance import GlanceStore
from worker.diagnostics.doctor import run_checks
from worker.monitoring.exporter import FleetCollector
from worker.redis.counts import LiveWorkers
from worker.runtime import Runtime
from worker.scheduling.planner import Planner
from worker.settings import Settings

ACCOUNTS: Final = 20_000


@pytest.fixture(scope="module", params=["sqlite", "sqlite without statistics", "postgresql"])
def runtime(
    request: pytest.FixtureRequest, redis_service: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runtime]:
    """A worker's runtime on a large fleet. SQLite has statistics only where somebody ran ANALYZE."""
    folder = tmp_path_factory.mktemp("fleet")
    url = _database(request, folder)
    settings = Settings(
        database_url=SecretStr(url),
        redis_url=SecretStr(redis_service.url_of(15)),
        redis_prefix=f"{folder.name}:",
        keys=SecretStr(generate_key()),
        data_dir=folder,
        requests_per_s=5,
    )
    runtime = Runtime(settings, worker="test")
    fill(runtime.engine, ACCOUNTS, attempts=ACCOUNTS, attempts_s=864_000)
    pause_one_provider(runtime.engine)
    _trouble(runtime)
    if request.param != "sqlite without statistics":
        analyze(runtime.engine)
    yield runtime
    runtime.close()


def _database(request: pytest.FixtureRequest, folder: Path) -> str:
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_service")
        return str(
            server.create_database("query_plans", template=request.getfixturevalue("postgres_template"))
        )
    path = folder / "refreshd.db"
    path.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
    return f"sqlite:///{path}"


def _trouble(runtime: Runtime) -> None:
    """Have each task something to do: tokens that Redis lacks, abandoned attempts, ends, callbacks."""
    changes = (
        "UPDATE account SET published_generation = -1 WHERE id LIKE 'acct-1_'",
        "UPDATE account SET claim_attempt = 'attempt-7', claim_until = 1, plan_at = NULL WHERE id = 'acct-7'",
        "UPDATE account SET refresh_token_end_fixed = true, refresh_token_expires_at = :soon WHERE id LIKE 'acct-2_'",
        "UPDATE account SET refresh_method = 'callback', callback = 'acme' WHERE id LIKE 'acct-3_'",
    )
    with writing(runtime.engine) as connection:
        soon = database_now(connection) + 80_000
        for change in changes:
            connection.execute(text(change), {"soon": soon} if ":soon" in change else {})


@contextmanager
def _sent(runtime: Runtime) -> Iterator[list[Statement]]:
    with traced(runtime.engine) if is_sqlite(runtime.engine) else recorded() as statements:
        yield statements


def _plan(runtime: Runtime, *, limits: Callable[[str], Limits] | None = None) -> None:
    lost: list[tuple[Sequence[tuple[str, int]], Trigger, bool]] = []

    def lose(accounts: Sequence[tuple[str, int]], *, trigger: Trigger, callback: bool) -> None:
        lost.append((accounts, trigger, callback))

    planner: Planner = runtime.planner(lose)
    if limits is not None:
        planner._limits = limits
    runtime.run(runtime.reconciler.needed())
    runtime.publication_store.lacks("reconcile")  # asked by `needed` where Redis was not emptied
    planner.plan()


def _glance(runtime: Runtime) -> None:
    GlanceStore(runtime.engine, plan="plan", fill="reconcile").look()


def _plan_a_crowd(runtime: Runtime) -> None:
    _plan(runtime, limits=lambda _: Limits(0.01, 10))


def _end_pauses(runtime: Runtime) -> None:
    runtime.pauses.resume(Scope.PROVIDER, [PAUSED_PROVIDER], actor=runtime.actor)
    _plan(runtime)
    runtime.pauses.bring_back_stray(100)


def _reconcile(runtime: Runtime) -> None:
    runtime.run(runtime.reconciler.reconcile())  # an empty Redis
    with writing(runtime.engine) as connection:
        connection.execute(text("UPDATE account SET published_generation = -2 WHERE id = 'acct-4'"))
    runtime.run(runtime.reconciler.reconcile())


def _prune(runtime: Runtime) -> None:
    runtime.history.prune(older_than_s=86400, keep_per_account=10, busy_within_s=1)
    runtime.outbox.prune(delivered_s=60, dead_lettered_s=60)
    runtime.audit.prune(older_than_s=86400)


def _expiring(runtime: Runtime) -> None:
    runtime.run(runtime.watch.expiring((7.0, 1.0)))


def _webhooks(runtime: Runtime) -> None:
    runtime.run(runtime.watch.recovered())
    runtime.run(runtime.webhook_sender.tell())


def _doctor(runtime: Runtime) -> None:
    list(run_checks(runtime, lambda: LiveWorkers({}, beats=1)))


def _status(runtime: Runtime) -> None:
    status._look(runtime)


def _exporter(runtime: Runtime) -> None:
    FleetCollector(runtime, queues=QUEUES, staff=lambda: LiveWorkers({}, beats=1)).poll()


@pytest.mark.parametrize(
    "task", [_glance, _plan, _plan_a_crowd, _reconcile, _end_pauses, _prune, _expiring, _webhooks]
)
def test_no_statement_of_a_task_reads_a_table_whole(
    runtime: Runtime, task: Callable[[Runtime], None]
) -> None:
    with _sent(runtime) as statements:
        task(runtime)
    assert statements
    assert whole_reads(runtime.engine, statements) == []


def test_doctor_reads_no_table_and_looks_for_shared_grants_in_narrow_indexes(runtime: Runtime) -> None:
    with _sent(runtime) as statements:
        _doctor(runtime)
    assert statements
    fingerprints = {"ix_account_refresh_fp", "ix_account_source_fp"}
    assert whole_reads(runtime.engine, statements, whole=SMALL_INDEXES | fingerprints) == []


def test_lists_of_overdue_and_of_failing_accounts_read_those_alone(runtime: Runtime) -> None:
    accounts = Accounts(runtime.engine)
    # As of the moment of filling: later ones are overdue by the second, and PostgreSQL reads many in the order of ids.
    with reading(runtime.engine) as connection:
        before = connection.execute(text("SELECT max(created_at) FROM account")).scalar_one() - 10
    of_one = Filter(provider="provider-9", due_before=before)
    with _sent(runtime) as statements:
        for wanted in (Filter(due_before=before), Filter(reason="timed_out"), of_one):
            accounts.count(wanted)
            accounts.page(wanted, "", 100)
        make_due(runtime.engine, ["acct-11", "acct-12"], reason="asked_for", note=lambda *_: None)
    assert statements
    assert whole_reads(runtime.engine, statements) == []


@pytest.mark.parametrize("task", [_status, _exporter])
def test_status_and_the_exporter_count_in_narrow_indexes(
    runtime: Runtime, task: Callable[[Runtime], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "alive_workers", dict)
    with _sent(runtime) as statements:
        task(runtime)
    assert statements
    assert whole_reads(runtime.engine, statements, whole=SMALL_INDEXES | {COUNTING_INDEX}) == []
