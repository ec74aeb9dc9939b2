"""A day of a fleet that no machine at hand could hold, simulated with the real policy and gate code.

    python -m benchmarks.simulate                              # 10,000,000 accounts, 50 workers, one account for 400
    python -m benchmarks.simulate --errors                     # the same at three scales: what scaling down changes
    python -m benchmarks.simulate --picture docs/images/scaling.svg

Twenty providers of the same size: four that take a fifth more requests than their accounts need and no more, tokens of ten minutes to a day. At 06:00 one of
them answers 503 for an hour; at 12:00 a deploy takes a tenth of the workers away for ten minutes; at 18:00 PostgreSQL fails over in
30 s, at 21:00 Redis in 15 s. Prints, for each hour: refreshes a second (mean, and the most in one second), failures, how late refreshes were
begun, and which share of all reads would have found no token. Rows and commands follow from what one refresh costs.

Exit code 1: accounts were without a token although their provider answered.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pygal
from pygal.style import CleanStyle
from rich.console import Console
from rich.table import Table

from benchmarks.simulation import Disturbance, Hour, ProviderLoad, Scenario, Simulation

_HOUR_S: Final = 3600
#: Of one refresh, counted on PostgreSQL and Redis 8 (2,000 accounts, `pg_stat_user_tables` and `INFO commandstats`): rows that are
#: written (four updates of an account, an attempt opened and closed), commands (those inside scripts included).
ROWS: Final = 6
COMMANDS: Final = 14
#: A worker process on one core of the machine that docs/scaling.md names (`python -m benchmarks.refresh`), and some to spare.
PER_WORKER_S: Final = 600.0
#: Of the twenty providers, so many take no more than a fifth more than their accounts need.
_WITH_RATE: Final = 4
#: Hours in which a provider is down, and in which its accounts come back.
_OUTAGE: Final = range(6, 8)
#: Refreshes a second between two lines of the picture.
_LINE: Final = 1000
#: Of all reads: less is one account in a million for less than a second of the hour.
_NOTHING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Row:
    """One hour, for all accounts."""

    refreshes_per_s: float
    most_per_s: int
    failed_per_s: float
    late_p50_s: float
    late_p99_s: float
    late_max_s: float
    #: The share of reads, spread evenly over accounts and time, that find no token.
    without_token: float
    #: Of those of accounts whose provider answers all day.
    without_token_spared: float

    @classmethod
    def of(cls, hour: Hour, scenario: Scenario) -> Row:
        late = sorted(hour.lateness_s) or [0.0]
        return cls(
            hour.calls * scenario.scale / _HOUR_S,
            max(hour.per_second.values(), default=0) * scenario.scale,
            hour.failures * scenario.scale / _HOUR_S,
            late[len(late) // 2],
            late[int(len(late) * 0.99)],
            late[-1],
            hour.without_token_s * scenario.scale / (_HOUR_S * scenario.accounts),
            hour.without_token_spared_s * scenario.scale / (_HOUR_S * scenario.accounts),
        )


def scenario(accounts: int, workers: int, scale: int) -> Scenario:
    """Return the day that the module's first lines describe."""
    size = accounts // 20
    lifetimes = [3600.0] * 14 + [1800.0] * 3 + [86_400.0] * 2 + [600.0]
    needed_per_s = size / 3000  # an hour's token is refreshed after 50 minutes
    providers = tuple(
        ProviderLoad(f"provider-{n:02}", size, lifetime_s, needed_per_s * 1.2 if n < _WITH_RATE else None)
        for n, lifetime_s in enumerate(lifetimes)
    )
    return Scenario(
        providers,
        workers,
        PER_WORKER_S,
        scale,
        (
            Disturbance("a provider is down", 6 * _HOUR_S, 7 * _HOUR_S, provider="provider-05"),
            Disturbance("deploy", 12 * _HOUR_S, 12 * _HOUR_S + 600, workers_left=0.9),
            Disturbance("PostgreSQL fails over", 18 * _HOUR_S, 18 * _HOUR_S + 30, stops_all=True),
            Disturbance("Redis fails over", 21 * _HOUR_S, 21 * _HOUR_S + 15, stops_all=True),
        ),
    )


def simulated(day: Scenario, console: Console) -> list[Row]:
    """Return the day's hours."""
    with console.status("simulating") as status:
        simulation = Simulation(day)
        hours = simulation.run(lambda share: status.update(f"simulating, {share:.0%} of the day"))
    return [Row.of(hour, day) for hour in hours]


def table(rows: list[Row]) -> Table:
    shown = Table(
        "hour", "refreshes/s", "most in 1 s", "failed/s", "late p50", "p99", "worst", "reads without a token"
    )
    for hour, row in enumerate(rows):
        shown.add_row(
            f"{hour:02}:00",
            f"{row.refreshes_per_s:,.0f}",
            f"{row.most_per_s:,}",
            f"{row.failed_per_s:,.1f}",
            f"{row.late_p50_s:.1f} s",
            f"{row.late_p99_s:,.1f} s",
            f"{row.late_max_s:,.0f} s",
            f"{row.without_token:.4%}" if row.without_token > _NOTHING else "0",
        )
    return shown


def picture(rows: list[Row], day: Scenario) -> bytes:
    """Return an SVG of the day that loads nothing: refreshes a second, and the share of reads without a token."""
    # Both axes have a line for each thousand refreshes, so that both have whole numbers.
    top = math.ceil(max(row.most_per_s for row in rows) / _LINE)
    percent = math.ceil(max(row.without_token for row in rows) * 100 / top) * top
    chart = pygal.Line(
        title=f"A simulated day: {day.accounts:,} accounts, {day.workers} workers",
        style=CleanStyle(font_family="system-ui, sans-serif"),
        width=960,
        height=420,
        js=(),
        show_dots=False,
        legend_at_bottom=True,
        x_labels=[f"{hour:02}:00" for hour in range(len(rows))],
        x_labels_major_every=3,
        show_minor_x_labels=False,
        y_title="refreshes/s",
        range=(0, top * _LINE),
        secondary_range=(0, percent or top),
        value_formatter=lambda value: f"{value:,.0f}",
    )
    chart.add("refreshes/s, mean of the hour", [row.refreshes_per_s for row in rows])
    chart.add("refreshes/s, busiest second", [row.most_per_s for row in rows])
    chart.add(
        "reads without a token, % (right)",
        [row.without_token * 100 for row in rows],
        secondary=True,
        formatter=lambda value: f"{value:.2f} %",
    )
    drawn: bytes = chart.render()
    return drawn


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--accounts", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, default=50)
    parser.add_argument(
        "--scale", type=int, default=400, help="accounts that one simulated account stands for"
    )
    parser.add_argument("--errors", action="store_true", help="compare with half and a quarter of the scale")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write an SVG")
    options = parser.parse_args()
    console = Console(width=110 if not sys.stdout.isatty() else None)
    day = scenario(options.accounts, options.workers, options.scale)
    began = time.perf_counter()
    rows = simulated(day, console)
    console.print(table(rows))
    mean = sum(row.refreshes_per_s for row in rows) / len(rows)
    console.print(
        f"{day.accounts:,} accounts, {day.workers} workers of {PER_WORKER_S:g} refreshes/s, one account for {day.scale}: "
        f"{mean:,.0f} refreshes/s on average, {mean / (day.workers * PER_WORKER_S):.0%} of the workers; "
        f"{mean * ROWS:,.0f} rows written/s, {mean * COMMANDS:,.0f} Redis commands/s. Simulated in {time.perf_counter() - began:.0f} s."
    )
    if options.errors:
        _compare(day, rows, console)
    if options.picture:
        options.picture.write_bytes(picture(rows, day))
    paid = sum(row.without_token_spared for row in rows) / len(rows)
    console.print(f"Reads without a token at providers that answered all day: {paid:.4%}")
    return int(paid > _NOTHING)


def _compare(day: Scenario, rows: list[Row], console: Console) -> None:
    shown = Table("one account for", "refreshes/s", "late p99", "reads without a token, 06:00", "07:00")
    for scale in (day.scale, day.scale // 2, day.scale // 4):
        found = rows if scale == day.scale else simulated(replace(day, scale=scale), console)
        shown.add_row(
            str(scale),
            f"{sum(row.refreshes_per_s for row in found) / len(found):,.0f}",
            f"{found[0].late_p99_s:.1f} s",
            *(f"{found[hour].without_token:.3%}" for hour in _OUTAGE),
        )
    console.print(shown)


if __name__ == "__main__":
    sys.exit(main())
