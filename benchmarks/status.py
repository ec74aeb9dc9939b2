"""What `refreshd status` costs at a million accounts, on SQLite and on PostgreSQL.

    python -m benchmarks.status --accounts 1000000

Fills a database of its own with accounts as a large fleet has them (40 providers, rows of a kilobyte, tokens of an
hour, one in thirty failing, one provider paused and one a minute behind) and a minute's attempts, then looks at it as
`status` does. Prints the time of each part, the slowest first. Exit code 1: a look takes more than `--most` seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, event, text

from models.attempt import Trigger
from models.audit import Actor
from models.pause import Scope
from tests.server_process import sigterm_ends_as_ctrl_c_does
from tests.services import postgres_server
from worker.io.database import is_sqlite, make_engine, now_sql, writing
from worker.io.fleet import look
from worker.io.pauses import Pauses
from worker.io.schedule import Schedule
from worker.io.schema import upgrade

LOOKS: Final = 5
#: A person waits no longer for a screen.
MOST_S: Final = 1.0
#: Attempts of the last minute: a million tokens of an hour.
ATTEMPTS_SHARE: Final = 1 / 60

#: One account of number `n`, in SQL that both databases speak. {now} is the database's clock.
_ACCOUNTS: Final = """
INSERT INTO account (id, provider, client_id, client_secret_sealed, refresh_enabled, refresh_method,
 session_management, session_timeout_s, knobs, access_token_sealed, refresh_token_sealed, refresh_fp, token_type,
 issued_at, expires_at, extra, generation, published_generation, config_version, jitter, next_refresh_at,
 due_reason, plan_at, status, reason, status_at, failures, created_at)
SELECT 'acct-' || n, 'provider-' || (n % 40), 'client', {secret}, true, 'body', 'auto', 900, '{{}}',
 {secret} || {secret} || {secret}, {secret} || {secret}, 'fp', 'Bearer',
 {now} - 3300 + due, {now} + 300 + due, '{{}}', 5, 5, 1, 0.5, CASE WHEN kind = 2 THEN NULL ELSE {now} + due END,
 'before_expiry', CASE WHEN kind = 2 OR (n % 40 = 7 AND due < 0) THEN NULL ELSE {now} + due END,
 CASE kind WHEN 1 THEN 'degraded' WHEN 2 THEN 'reauthorize' WHEN 3 THEN 'misconfigured' ELSE 'active' END,
 CASE kind WHEN 1 THEN 'timed_out' WHEN 2 THEN 'invalid_grant' WHEN 3 THEN 'invalid_client' END, {now}, 0, {now}
FROM (SELECT n, n % 100 AS kind, CASE WHEN n % 40 = 7 THEN n % 3600 - 1800 WHEN n % 40 = 9 THEN n % 3600 - 60
 ELSE n % 3600 END AS due FROM ({numbers}) AS numbers) AS made
"""
_ATTEMPTS: Final = """
INSERT INTO attempt (id, account_id, trigger, opened_at, closed_at, generation, config_version, outcome, reason,
 latency_ms, repeats)
SELECT 'attempt-' || n, 'acct-' || n, :trigger, {now} - n % 120, {now}, 4, 1,
 CASE WHEN n % 50 = 0 THEN 'retry' ELSE 'refreshed' END, 'refreshed', 200, 1 FROM ({numbers}) AS numbers
"""
_SECRET: Final = "'v1.k1." + "x" * 120 + "'"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--most", type=float, default=MOST_S, help="seconds that a look may take")
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    met = True
    for name in options.database or ["sqlite", "postgresql"]:
        with tempfile.TemporaryDirectory() as folder, _database(name, Path(folder)) as url:
            met &= _measure(name, url, options.accounts) <= options.most
    return 0 if met else 1


@contextmanager
def _database(name: str, folder: Path) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{folder / 'refreshd.db'}"
        return
    with postgres_server(folder) as server:
        yield server.create_database("status")


def _measure(name: str, url: str, accounts: int) -> float:
    upgrade(url)
    engine = make_engine(url)
    console = Console()
    began = time.perf_counter()
    _fill(engine, accounts)
    console.print(f"{name}: {accounts:,} accounts in {time.perf_counter() - began:.0f} s")
    statements: dict[str, list[float]] = {}
    _time_statements(engine, statements)
    took, cpu = [], []
    for _ in range(LOOKS):
        began, cpu_began = time.perf_counter(), time.process_time()
        fleet = look(engine)
        took.append(time.perf_counter() - began)
        cpu.append(time.process_time() - cpu_began)
    table = Table("statement", "ms, median of looks", title=f"{name}: one look {median(took) * 1000:.0f} ms")
    table.caption = f"of it CPU of this process {median(cpu) * 1000:.0f} ms"
    for sql, times in sorted(statements.items(), key=lambda one: -median(one[1])):
        table.add_row(" ".join(sql.split())[:110], f"{median(times) * 1000:.1f}")
    console.print(table)
    console.print(
        f"{fleet.accounts:,} accounts, {fleet.overdue:,} overdue, {fleet.refreshed_last_minute:,} a minute"
    )
    _measure_plans(engine, console)
    engine.dispose()
    return median(took)


def _measure_plans(engine: Engine, console: Console) -> None:
    """What a plan pays for a paused provider: its due accounts are set aside already."""
    schedule, pauses = Schedule(engine), Pauses(engine)
    took: dict[str, float] = {}
    for name, some_paused in (("nothing paused", False), ("a provider paused", True)):
        began = time.perf_counter()
        if some_paused:
            pauses.standing()
        claimed = schedule.claim_due(1_000, hold_s=75, some_paused=some_paused)
        took[f"{name} ({claimed.seen} seen)"] = time.perf_counter() - began
    console.print("a plan's claim: " + ", ".join(f"{name} {s * 1000:.0f} ms" for name, s in took.items()))


def _fill(engine: Engine, accounts: int) -> None:
    now = now_sql(engine)
    with writing(engine) as connection:
        if not is_sqlite(engine):
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        numbers = _numbers(engine, accounts)
        connection.execute(text(_ACCOUNTS.format(now=now, secret=_SECRET, numbers=numbers)))
        attempts = _numbers(engine, int(accounts * ATTEMPTS_SHARE * 2))
        connection.execute(
            text(_ATTEMPTS.format(now=now, numbers=attempts)), {"trigger": Trigger.PLANNED.value}
        )
    Pauses(engine).pause(
        Scope.PROVIDER, ["provider-7"], for_s=None, reason="an outage", actor=Actor("mia", "desk-1")
    )
    with writing(engine) as connection:  # what plans have done by now
        soon = float(connection.execute(text(f"SELECT {now}")).scalar_one()) + 600
        aside = "UPDATE account SET plan_at = NULL WHERE provider = 'provider-7' AND next_refresh_at < :soon"
        connection.execute(text(aside), {"soon": soon})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # What autovacuum does by itself; SQLite has nothing like it, and the planner of ours needs none.
        if not is_sqlite(engine):
            connection.execute(text("SET statement_timeout = 0"))
            connection.execute(text("VACUUM ANALYZE"))


def _numbers(engine: Engine, count: int) -> str:
    if is_sqlite(engine):
        return (
            "WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted "  # noqa: S608
            f"WHERE n < {count}) SELECT n FROM counted"
        )
    return f"SELECT n FROM generate_series(1, {count}) AS n"  # noqa: S608  (a number)


def _time_statements(engine: Engine, statements: dict[str, list[float]]) -> None:
    started: list[float] = []

    @event.listens_for(engine, "before_cursor_execute")
    def before(*_: object) -> None:
        started.append(time.perf_counter())

    @event.listens_for(engine, "after_cursor_execute")
    def after(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.setdefault(statement, []).append(time.perf_counter() - started.pop())


if __name__ == "__main__":
    sys.exit(main())
