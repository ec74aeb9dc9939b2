"""How fast one refreshd worker process refreshes, and what a refresh costs it, beside others in one run.

    python -m benchmarks.refresh
    python -m benchmarks.refresh --scheme both --against 25bdc68

Against a loopback provider with 200 ms latency, on PostgreSQL and on SQLite: refreshd; an earlier revision of it
(`--against`); (a) the obvious way, one account a Celery task, with 8 and with 32 processes (over http alone); (b) the
floor, bare POSTs. They take turns, in another order each round; what counts is the median of each round's ratios, so that
a noisy machine is noisy for all. CPU is the worker's own, its children's included; databases, Redis and the provider are
processes of their own. The floor runs on asyncio's own event loop, as one would write it; on uvloop, which refreshd runs
on, it takes about 5 % less CPU. Connections to the provider are opened before a round is measured, a worker's as the floor's.

Exit code 1: a ratio of `benchmarks.bar` is missed, or the provider saw a refresh token twice.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.bar import Ratios, median_sample
from benchmarks.contestants import Contestant, Floor, Obvious, Place, Refreshd, Sample
from benchmarks.processes import BenchmarkBroken, Provider
from benchmarks.revision import Revision, checked_out
from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import PostgresServer, RedisServer, postgres_server, redis_server

LATENCY_MS: Final = 200.0
ROUNDS: Final = 5
#: Refreshes of one round: about 4 s for each contestant, whatever its speed.
REFRESHD_ACCOUNTS: Final = 6000
OBVIOUS_ACCOUNTS: Final = {8: 160, 32: 480}
FLOOR_REFRESHES: Final = 6000
#: Redis databases of one line-up: two refreshd, two obvious ways.
PLACES: Final = 4

#: What the speed is compared to: the obvious way with as many processes as the refreshd worker has threads.
BASELINE: Final = 8


@dataclass(frozen=True, slots=True)
class LineUp:
    """Who takes part over one scheme on one database."""

    refreshd: Refreshd
    floor: Floor
    earlier: Refreshd | None
    obvious: Sequence[Obvious]

    @property
    def all(self) -> list[Contestant]:
        earlier = [self.earlier] if self.earlier is not None else []
        return [self.refreshd, *earlier, *self.obvious, self.floor]

    def ratios(self, samples: Samples, of: Refreshd) -> Ratios:
        """Return the ratios of refreshd, or of the earlier revision."""
        baseline = next((one for one in self.obvious if one.concurrency == BASELINE), None)
        is_new = of is self.refreshd and self.earlier is not None
        return Ratios.of(
            samples[of.name],
            samples[self.floor.name],
            obvious=samples[baseline.name] if baseline is not None else (),
            earlier=samples[self.earlier.name] if is_new and self.earlier is not None else (),
        )


#: Name of a contestant -> its rounds.
Samples = dict[str, list[Sample]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), action="append")
    parser.add_argument("--scheme", choices=("http", "https", "both"), default="http")
    parser.add_argument("--against", metavar="REV", help="a commit whose code is measured beside ours")
    parser.add_argument("--without-obvious", action="store_true", help="leave (a) out, which takes longest")
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    console = Console(width=120)
    table = _table(options.rounds)
    found: dict[str, Ratios] = {}
    clean = True
    with ExitStack() as stack:
        earlier = stack.enter_context(checked_out(options.against)) if options.against else None
        for scheme in ("http", "https") if options.scheme == "both" else (options.scheme,):
            with servers(tls=scheme == "https") as (provider, redis, postgres, folder):
                for number, database in enumerate(options.database or ("postgresql", "sqlite")):
                    lines = Lines(provider, redis, postgres, folder / database, database, number)
                    line_up = lines.up(earlier, with_obvious=scheme == "http" and not options.without_obvious)
                    samples = compete(line_up.all, options.rounds, console)
                    name = f"{database}, {scheme}"
                    found[name] = _add_rows(table, name, line_up, samples)
                tally = provider.tally()
            clean = clean and not tally["overlaps"] and not tally["reuses"]
            print(
                f"{scheme}: {tally['requests']} requests, {tally['overlaps']} overlaps, {tally['reuses']} reuses"
            )
    console.print(table)
    for name, ratios in found.items():
        for words, is_met in ratios.verdicts():
            print(f"{name}: {words}: {'met' if is_met else 'MISSED'}")
    return 0 if clean and all(ratios.met for ratios in found.values()) else 1


@contextmanager
def servers(*, tls: bool = False) -> Iterator[tuple[Provider, RedisServer, PostgresServer, Path]]:
    """Run what all contestants share; with `tls` the provider is asked by https."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="refreshd-bench-")))
        redis = stack.enter_context(redis_server(folder))
        postgres = stack.enter_context(postgres_server(folder, durable=True))
        provider = stack.enter_context(
            Provider(latency_ms=LATENCY_MS, folder=folder, env=os.environ, tls=tls)
        )
        yield provider, redis, postgres, folder


@dataclass(slots=True)
class Lines:
    """Places of one database for contestants, each with a database, a Redis database and a folder of its own."""

    provider: Provider
    redis: RedisServer
    postgres: PostgresServer
    folder: Path
    database: str
    number: int
    _taken: int = 0

    def up(self, earlier: Revision | None, *, with_obvious: bool) -> LineUp:
        """Make the contestants."""
        obvious = OBVIOUS_ACCOUNTS if with_obvious else {}
        return LineUp(
            refreshd=Refreshd(self.place(), accounts=REFRESHD_ACCOUNTS),
            floor=Floor(self.provider, refreshes=FLOOR_REFRESHES, folder=self.folder, run_name=self.database),
            earlier=None
            if earlier is None
            else Refreshd(self.place(), accounts=REFRESHD_ACCOUNTS, revision=earlier),
            obvious=[
                Obvious(self.place(), concurrency=concurrency, accounts=accounts)
                for concurrency, accounts in obvious.items()
            ],
        )

    def place(self) -> Place:
        """Return the next place."""
        number, self._taken = self._taken, self._taken + 1
        name = f"{self.database}-{number}"
        folder = self.folder / name
        folder.mkdir(parents=True)
        url = (
            self.postgres.create_database(f"bench_{number}")
            if self.database == "postgresql"
            else f"sqlite:///{folder / 'bench.db'}"
        )
        return Place(url, self.redis.url_of(self.number * PLACES + number), self.provider, folder)


def compete(
    contestants: Sequence[Contestant],
    rounds: int,
    console: Console,
    *,
    before_stop: Callable[[], None] = lambda: None,
) -> Samples:
    """Let the contestants take turns. The first turn of each opens its connections and doesn't count."""
    samples: Samples = {contestant.name: [] for contestant in contestants}
    with ExitStack() as stack:
        for contestant in contestants:
            stack.callback(contestant.stop)
            contestant.start()
            contestant.measure()
        for number in range(rounds):
            for turn in range(len(contestants)):
                contestant = contestants[(turn + number) % len(contestants)]
                sample = contestant.measure()
                samples[contestant.name].append(sample)
                console.print(
                    f"round {number + 1}/{rounds}  {contestant.name}: "
                    f"{sample.refreshes_per_s:.0f}/s, {sample.cpu_ms:.2f} ms CPU each",
                    style="dim",
                )
        before_stop()
    return samples


def _table(rounds: int) -> Table:
    table = Table(
        title=f"Provider latency {LATENCY_MS:.0f} ms, medians of {rounds} rounds", title_justify="left"
    )
    table.add_column("database", no_wrap=True)
    table.add_column("contestant", no_wrap=True)
    for heading in ("refreshes/s", "CPU ms each", "/s over (a)", "CPU over (b)", "/s over earlier"):
        table.add_column(heading, justify="right")
    return table


def _add_rows(table: Table, database: str, line_up: LineUp, samples: Samples) -> Ratios:
    for contestant in line_up.all:
        middle = median_sample(samples[contestant.name])
        cells = ["", "", ""]
        if isinstance(contestant, Refreshd):
            ratios = line_up.ratios(samples, contestant)
            cells = [_cell(ratios.speed), _cell(ratios.cpu), _cell(ratios.gain)]
        figures = (f"{middle.refreshes_per_s:.0f}", f"{middle.cpu_ms:.2f}")
        table.add_row(database, contestant.name, *figures, *cells)
    table.add_section()
    return line_up.ratios(samples, line_up.refreshd)


def _cell(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkBroken as error:
        sys.exit(f"the benchmark is broken: {error}")
