"""What a plan costs at a million accounts: with nothing due, and with 100,000 due at once.

    python -m benchmarks.plan --accounts 1000000

Fills a database of its own, as `benchmarks.status` does, and plans into a queue that nobody takes from. With nothing due,
also where providers have rates, so that a plan looks ahead. Times are CPU of this process and of the database's: a busy
machine stretches every other clock. Exit code 1: a plan with nothing due takes more than `--most` milliseconds or sends more
than ten statements.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, quantiles
from typing import Final

import psutil
from rich.console import Console
from sqlalchemy import Engine, text

from models.rate_limit import Limits
from models.tables.attempt import Trigger
from tests.support.large_fleet import NOTHING_DUE, analyze, fill
from tests.support.query_plans import recorded
from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import empty_database
from worker.db.engine import database_now, is_sqlite, make_engine, writing
from worker.db.fleet_locks import FleetLock
from worker.db.migrate import upgrade
from worker.db.planning.held_accounts import HeldAccounts
from worker.db.planning.pauses import Pauses
from worker.db.planning.schedule import Schedule
from worker.db.publication.store import PublicationStore
from worker.scheduling.held_picks import HeldPicks
from worker.scheduling.planner import CLAIM_MAX, LOCK, LOCK_S, Planner, PlanSettings

PLANS: Final = 50
#: A plan a second is to be nothing that anybody notices.
MOST_MS: Final = 5.0
STATEMENTS_MAX: Final = 10
DUE: Final = 100_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--most", type=float, default=MOST_MS, help="milliseconds that a plan may take")
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    met = True
    for name in options.database or ["sqlite", "postgresql"]:
        with tempfile.TemporaryDirectory() as folder, empty_database(name, Path(folder)) as url:
            met &= _measure(name, url, options.accounts, options.most)
    return 0 if met else 1


def _measure(name: str, url: str, accounts: int, most_ms: float) -> bool:
    upgrade(url)
    engine = make_engine(url)
    console = Console()
    fill(engine, accounts, due=NOTHING_DUE)
    if not is_sqlite(engine):
        analyze(engine)
    schedule = Schedule(engine)

    def plan(*, rates: bool) -> None:
        # What `refreshd.plan` asks of the database: whether Redis lacks anything, and what is due.
        PublicationStore(engine).lacks("reconcile")
        _planner(engine, rates=rates).plan()

    with recorded() as statements:
        plan(rates=True)
    sent = sum(not sql.startswith("BEGIN") for sql, _ in statements)
    idle = _timed(engine, lambda: plan(rates=False))
    early_count = _timed(engine, lambda: plan(rates=True))
    console.print(f"{name}, {accounts:,} accounts, nothing due: {sent} statements, {_words(idle)}")
    console.print(f"  ... where providers have rates: {_words(early_count)}")
    _make_due(engine, min(DUE, accounts))
    claims = [_time_of(engine, lambda: schedule.claim_due(CLAIM_MAX, hold_s=3600)) for _ in range(5)]
    console.print(f"  {DUE:,} due: the claim of {CLAIM_MAX:,} {_words(claims)}")
    engine.dispose()
    return sent <= STATEMENTS_MAX and fmean(idle) <= most_ms


def _planner(engine: Engine, *, rates: bool) -> Planner:
    sent: list[tuple[Sequence[tuple[str, int]], Trigger, bool]] = []

    def dispatch(accounts: Sequence[tuple[str, int]], *, trigger: Trigger, callback: bool) -> None:
        sent.append((accounts, trigger, callback))

    return Planner(
        schedule=Schedule(engine),
        pauses=Pauses(engine),
        held=HeldPicks(HeldAccounts(engine), lambda _: {}, lambda: 0.0, 1.0, lambda: 0.0),
        dispatch=dispatch,
        queue_length=lambda _: 0,
        limits=lambda _: Limits(50.0 if rates else None, 1_000),
        settings=PlanSettings(interval_s=1.0, queue_limit=200, group_size=50, rates_matter=rates),
        lock=FleetLock(engine, LOCK, holder="benchmark", ttl_s=LOCK_S),
    )


def _make_due(engine: Engine, count: int) -> None:
    with writing(engine) as connection:
        if not is_sqlite(engine):
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        change = text(
            "UPDATE account SET plan_at = :now, next_refresh_at = :now WHERE id IN "
            "(SELECT id FROM account WHERE plan_at IS NOT NULL LIMIT :count)"
        )
        connection.execute(change, {"now": database_now(connection), "count": count})


def _timed(engine: Engine, work: Callable[[], object]) -> list[float]:
    work()
    return [_time_of(engine, work) for _ in range(PLANS)]


def _time_of(engine: Engine, work: Callable[[], object]) -> float:
    """Return milliseconds of CPU, of this process and of its one connection's server process."""
    began = time.process_time() + _server_cpu_s(engine)
    work()
    return (time.process_time() + _server_cpu_s(engine) - began) * 1000


def _server_cpu_s(engine: Engine) -> float:
    if is_sqlite(engine):
        return 0.0
    with engine.connect() as connection:
        backend = int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
    times = psutil.Process(backend).cpu_times()
    return float(times.user + times.system)


def _words(times_ms: Sequence[float]) -> str:
    # The kernel counts a server's CPU in hundredths of a second: the mean of many plans is exact, the median is not.
    return f"mean {fmean(times_ms):.1f} ms of CPU, p90 {quantiles(times_ms, n=10)[-1]:.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
