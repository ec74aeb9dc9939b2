"""How fast one refreshd worker process refreshes, and what a refresh costs it, beside two others in one run.

    python -m benchmarks.refresh

Against a loopback provider with 200 ms latency, on PostgreSQL and on SQLite: refreshd; (a) the obvious way, one
account a Celery task, with 8 and with 32 processes; (b) the floor, bare POSTs. They take turns, in another order
each round; what counts is the median of each round's ratios, so that a noisy machine is noisy for all. CPU is the
worker's own, its children's included; databases, Redis and the provider are processes of their own. The floor runs on
asyncio's own event loop, as one would write it; on uvloop, which refreshd runs on, it takes about 5 % less CPU.

Exit code 1: a ratio of `benchmarks.bar` is missed, or the provider saw a refresh token twice.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.bar import MAX_CPU_RATIO, MIN_SPEED_RATIO, Ratios, median_sample
from benchmarks.contestants import Contestant, Floor, Obvious, Place, Refreshd, Sample
from benchmarks.processes import BenchmarkBroken, Provider
from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import PostgresServer, RedisServer, postgres_server, redis_server

LATENCY_MS: Final = 200.0
ROUNDS: Final = 5
#: Refreshes of one round: about 4 s for each contestant, whatever its speed.
REFRESHD_ACCOUNTS: Final = 4000
OBVIOUS_ACCOUNTS: Final = {8: 160, 32: 480}
FLOOR_REFRESHES: Final = 4000

#: What the speed is compared to: the obvious way with as many processes as the refreshd worker has threads.
BASELINE: Final = "(a) -c 8"
#: refreshd, the obvious way with 8 and with 32, the floor: the order of the table.
Samples = list[list[Sample]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), action="append")
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    databases = options.database or ["postgresql", "sqlite"]
    console = Console()
    table = _table(options.rounds)
    found: dict[str, Ratios] = {}
    with servers() as (provider, redis, postgres, folder):
        for number, database in enumerate(databases):
            place_folder = folder / database
            place_folder.mkdir()
            url = (
                postgres.create_database("bench")
                if database == "postgresql"
                else f"sqlite:///{place_folder / 'bench.db'}"
            )
            contestants = line_up(provider, redis, url, place_folder, first_database=number * 3)
            samples = compete(contestants, options.rounds, console)
            found[database] = _add_rows(table, database, contestants, samples)
        tally = provider.tally()
    console.print(table)
    for database, ratios in found.items():
        print(_verdict(database, ratios))
    print(f"provider: {tally['requests']} requests, {tally['overlaps']} overlaps, {tally['reuses']} reuses")
    met = all(ratios.met for ratios in found.values())
    return 0 if met and not tally["overlaps"] and not tally["reuses"] else 1


@contextmanager
def servers() -> Iterator[tuple[Provider, RedisServer, PostgresServer, Path]]:
    """Run what all contestants share."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="refreshd-bench-")))
        redis = stack.enter_context(redis_server(folder))
        postgres = stack.enter_context(postgres_server(folder, durable=True))
        provider = stack.enter_context(Provider(latency_ms=LATENCY_MS, folder=folder, env=os.environ))
        yield provider, redis, postgres, folder


def line_up(
    provider: Provider, redis: RedisServer, database_url: str, folder: Path, *, first_database: int
) -> list[Contestant]:
    """Make the contestants of one database, each with a Redis database of its own."""
    places = [
        Place(database_url, redis.url_of(first_database + n), provider, folder)
        for n in range(1 + len(OBVIOUS_ACCOUNTS))
    ]
    obvious = [
        Obvious(place, concurrency=concurrency, accounts=accounts)
        for place, (concurrency, accounts) in zip(places[1:], OBVIOUS_ACCOUNTS.items(), strict=True)
    ]
    floor = Floor(provider, refreshes=FLOOR_REFRESHES, folder=folder, run_name=folder.name)
    return [Refreshd(places[0], accounts=REFRESHD_ACCOUNTS), *obvious, floor]


def compete(contestants: Sequence[Contestant], rounds: int, console: Console) -> Samples:
    """Let the contestants take turns. The first turn of each opens its connections and doesn't count."""
    samples: Samples = [[] for _ in contestants]
    with ExitStack() as stack:
        for contestant in contestants:
            stack.callback(contestant.stop)
            contestant.start()
            contestant.measure()
        for number in range(rounds):
            for turn in range(len(contestants)):
                index = (turn + number) % len(contestants)
                sample = contestants[index].measure()
                samples[index].append(sample)
                console.print(
                    f"round {number + 1}/{rounds}  {contestants[index].name}: "
                    f"{sample.refreshes_per_s:.0f}/s, {sample.cpu_ms:.2f} ms CPU each",
                    style="dim",
                )
    return samples


def _table(rounds: int) -> Table:
    table = Table(
        title=f"Provider latency {LATENCY_MS:.0f} ms, medians of {rounds} rounds", title_justify="left"
    )
    table.add_column("database", no_wrap=True)
    table.add_column("contestant", no_wrap=True)
    for heading in ("refreshes/s", "CPU ms each", f"/s over {BASELINE}", "CPU over (b)"):
        table.add_column(heading, justify="right")
    return table


def _add_rows(table: Table, database: str, contestants: Sequence[Contestant], samples: Samples) -> Ratios:
    refreshd, obvious, _, floor = samples
    for contestant, mine in zip(contestants, samples, strict=True):
        middle, ratios = median_sample(mine), Ratios.of(mine, obvious, floor)
        table.add_row(
            database,
            contestant.name,
            f"{middle.refreshes_per_s:.0f}",
            f"{middle.cpu_ms:.2f}",
            f"{ratios.speed:.1f}",
            f"{ratios.cpu:.2f}",
        )
    table.add_section()
    return Ratios.of(refreshd, obvious, floor)


def _verdict(database: str, ratios: Ratios) -> str:
    speed = "met" if ratios.speed >= MIN_SPEED_RATIO else "MISSED"
    cpu = "met" if ratios.cpu <= MAX_CPU_RATIO else "MISSED"
    return (
        f"{database}: {ratios.speed:.1f} times the refreshes of {BASELINE}, at least {MIN_SPEED_RATIO:g}: {speed}; "
        f"{ratios.cpu:.2f} times the CPU of (b), at most {MAX_CPU_RATIO:g}: {cpu}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkBroken as error:
        sys.exit(f"the benchmark is broken: {error}")
