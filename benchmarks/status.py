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
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, event

from tests.support.large_fleet import analyze, fill, pause_one_provider
from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import empty_database
from worker.db.engine import is_sqlite, make_engine
from worker.db.fleet.counts import look
from worker.db.migrate import upgrade
from worker.db.planning.pauses import Pauses
from worker.db.planning.schedule import Schedule

LOOKS: Final = 5
#: A person waits no longer for a screen.
MOST_S: Final = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--most", type=float, default=MOST_S, help="seconds that a look may take")
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    met = True
    for name in options.database or ["sqlite", "postgresql"]:
        with tempfile.TemporaryDirectory() as folder, empty_database(name, Path(folder)) as url:
            met &= _measure(name, url, options.accounts) <= options.most
    return 0 if met else 1


def _measure(name: str, url: str, accounts: int) -> float:
    upgrade(url)
    engine = make_engine(url)
    console = Console()
    began = time.perf_counter()
    fill(engine, accounts)
    pause_one_provider(engine)
    if not is_sqlite(engine):  # SQLite has nothing like autovacuum
        analyze(engine)
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
