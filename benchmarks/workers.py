"""What more worker processes bring: refreshes a second, CPU a refresh and memory at 1, 2 and 4 of them.

    python -m benchmarks.workers
    python -m benchmarks.workers --accounts 20000 --rounds 1

Each fleet has accounts and a database of its own, on one PostgreSQL and one Redis; fleets take turns, in another order each
round, and each is compared to the single process of the same round. All of it shares this machine with the provider, the
database and Redis: where its cores are busy, more processes bring nothing. Memory is the most that one process held (`VmHWM`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.bar import median_sample
from benchmarks.contestants import Place, Refreshd, Sample, worker_command
from benchmarks.processes import BenchmarkBroken, Process
from benchmarks.refresh import Lines, Samples, compete, servers
from tests.support.server_process import sigterm_ends_as_ctrl_c_does

PROCESSES: Final = (1, 2, 4)
ROUNDS: Final = 3
ACCOUNTS: Final = 4000
#: A worker under 20,000 due accounts holds at most this much, MB (10^6 bytes).
MAX_RSS_MB: Final = 150.0


class Workers(Refreshd):
    """Several refreshd worker processes, which empty one queue."""

    def __init__(self, place: Place, *, accounts: int, processes: int) -> None:
        super().__init__(place, accounts=accounts)
        self.name = f"{processes} process{'es' if processes > 1 else ''}"
        self._others = [
            Process(f"worker-{n}", worker_command(f"w{n}@%h"), folder=place.folder, env=self.env)
            for n in range(1, processes)
        ]

    def start(self) -> None:
        super().start()
        for other in self._others:
            other.start()

    def stop(self) -> None:
        for other in self._others:
            other.stop()
        super().stop()

    def cpu_s(self) -> float:
        return super().cpu_s() + sum(other.cpu_s() for other in self._others)

    def peak_mb(self) -> float:
        """Return the most memory that one of the processes held."""
        return max(_peak_mb(process.pid) for process in (self.process, *self._others))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--accounts", type=int, default=ACCOUNTS, help="due at once in each round")
    parser.add_argument("--processes", type=int, nargs="+", default=PROCESSES)
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    console = Console(width=120)
    peaks: dict[str, float] = {}
    with servers() as (provider, redis, postgres, folder):
        lines = Lines(provider, redis, postgres, folder / "postgresql", "postgresql", 0)
        fleets = [
            Workers(lines.place(), accounts=options.accounts, processes=count) for count in options.processes
        ]
        samples = compete(
            fleets,
            options.rounds,
            console,
            before_stop=lambda: peaks.update({fleet.name: fleet.peak_mb() for fleet in fleets}),
        )
        tally = provider.tally()
    console.print(_table(fleets, samples, peaks))
    print(f"load average of this machine: {', '.join(f'{load:.1f}' for load in psutil.getloadavg())}")
    fits = max(peaks.values()) <= MAX_RSS_MB
    print(f"at most {MAX_RSS_MB:g} MB a process: {'met' if fits else 'MISSED'}")
    return 0 if fits and not tally["overlaps"] and not tally["reuses"] else 1


def _table(fleets: Sequence[Workers], samples: Samples, peaks: dict[str, float]) -> Table:
    table = Table(title="One queue, PostgreSQL, provider latency 200 ms", title_justify="left")
    table.add_column("workers", no_wrap=True)
    for heading in ("refreshes/s", "CPU ms each", "/s over one", "CPU over one", "MB at most"):
        table.add_column(heading, justify="right")
    alone = samples[fleets[0].name]
    for fleet in fleets:
        seen = samples[fleet.name]
        middle = median_sample(seen)
        speed, cost = _over(seen, alone)
        table.add_row(
            fleet.name,
            f"{middle.refreshes_per_s:.0f}",
            f"{middle.cpu_ms:.2f}",
            f"{speed:.2f}",
            f"{cost:.2f}",
            f"{peaks[fleet.name]:.0f}",
        )
    return table


def _over(samples: Sequence[Sample], alone: Sequence[Sample]) -> tuple[float, float]:
    pairs = list(zip(samples, alone, strict=True))
    return (
        median(one.refreshes_per_s / single.refreshes_per_s for one, single in pairs),
        median(one.cpu_ms / single.cpu_ms for one, single in pairs),
    )


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkBroken as error:
        sys.exit(f"the benchmark is broken: {error}")
