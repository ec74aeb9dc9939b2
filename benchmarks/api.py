"""How fast one API process takes grants and batches in, beside the command line's import in the same run.

    python -m benchmarks.api
    python -m benchmarks.api --database postgresql --rounds 5 --rows 100000

A real API process, a worker, Redis, and PostgreSQL or SQLite, each a process of its own on this machine. A round: grants
by one client, by 4 (their median wait), by 32 (how many a second), and by 400 that arrive in a second at moments of their own,
a batch of new rows and the same batch again (unchanged),
and the same two files through `refreshd accounts import` into a database of its own. Of the grants one in ten is read in
Redis as its answer comes. What counts is the median of the rounds. CPU is of the API's process, and of the worker's for
batches: on a machine with other work to do it says what the wall's clock does not.

Exit code 1: a bar is missed, a grant was refused, or its token could not be read.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.api_load import Grants, arriving_grants, post_batch, put_grants
from benchmarks.api_processes import Api, Site, Worker, import_file
from benchmarks.processes import BenchmarkBroken
from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import postgres_server, redis_server

#: Grants a second of one API process: at least.
MIN_GRANTS_PER_S: Final = 400.0
#: The median wait of a grant among 4 clients, milliseconds: at most.
MAX_P50_MS: Final = 10.0
#: Rows of a batch a second, new or unchanged: at least.
MIN_ROWS_PER_S: Final = 4_000.0
#: From the process' start to its first answer from its stores, seconds: at most.
MAX_START_S: Final = 2.0
#: Clients at a time: alone, of the median wait, and of the rate.
ALONE: Final = 1
FEW: Final = 4
MANY: Final = 32
ROUNDS: Final = 3
#: Some seconds of each.
GRANTS: Final = 2_000
ROWS: Final = 20_000
#: Rows of a batch.
KINDS: Final = ("new", "unchanged")


@dataclass(slots=True)
class Measured:
    """The figures of all rounds on one database; CPU in milliseconds each."""

    start_s: list[float] = field(default_factory=list)
    start_cpu_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    alone_p50_ms: list[float] = field(default_factory=list)
    arriving_p50_ms: list[float] = field(default_factory=list)
    grants_per_s: list[float] = field(default_factory=list)
    grant_cpu_ms: list[float] = field(default_factory=list)
    #: Kind of rows -> rows a second of the batch, and of the import.
    batch: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    imported: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    api_cpu_ms: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    worker_cpu_ms: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    import_cpu_ms: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def verdicts(self) -> list[tuple[str, bool]]:
        """Return each figure in words, with its bar, and whether it is met."""
        start, p50, rate = median(self.start_s), median(self.p50_ms), median(self.grants_per_s)
        found = [
            (f"start {start:.2f} s, at most {MAX_START_S:g}", start <= MAX_START_S),
            (f"p50 of a grant {p50:.1f} ms at {FEW} at once, at most {MAX_P50_MS:g}", p50 <= MAX_P50_MS),
            self._p50("alone", self.alone_p50_ms),
            self._p50(f"at {MIN_GRANTS_PER_S:g} arriving a second", self.arriving_p50_ms),
            (
                f"{rate:.0f} grants/s at {MANY} at once, at least {MIN_GRANTS_PER_S:g}",
                rate >= MIN_GRANTS_PER_S,
            ),
        ]
        for kind in KINDS:
            rows = median(self.batch[kind])
            ratio = median(
                ours / theirs for ours, theirs in zip(self.batch[kind], self.imported[kind], strict=True)
            )
            words = (
                f"batch of {kind} rows {rows:.0f}/s ({ratio:.2f} of the import), at least {MIN_ROWS_PER_S:g}"
            )
            found.append((words, rows >= MIN_ROWS_PER_S))
        return found

    @staticmethod
    def _p50(how: str, waits_ms: list[float]) -> tuple[str, bool]:
        p50 = median(waits_ms)
        return f"p50 of a grant {p50:.1f} ms {how}, at most {MAX_P50_MS:g}", p50 <= MAX_P50_MS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), action="append")
    parser.add_argument("--grants", type=int, default=GRANTS, help="grants of a round, at either concurrency")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of a batch")
    parser.add_argument("--only", choices=("grants", "batch"), help="leave the other out")
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    console = Console(width=120)
    found: dict[str, Measured] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="refreshd-bench-")))
        redis = stack.enter_context(redis_server(folder))
        for number, database in enumerate(options.database or ("postgresql", "sqlite")):
            here = folder / database
            here.mkdir()
            with ExitStack() as its:
                urls: Iterator[str]
                if database == "postgresql":
                    server = its.enter_context(postgres_server(folder, durable=True))
                    urls = (server.create_database(f"api_{n}") for n in range(2))
                else:
                    urls = (f"sqlite:///{here / f'{n}.db'}" for n in range(2))
                sites = [Site(url, redis.url_of(2 * number + n), here / str(n)) for n, url in enumerate(urls)]
                found[database] = Run(sites[0], sites[1], options, console).measured()
    met = True
    for database, measured in found.items():
        console.print(table_of(database, measured, options.rounds))
        for words, is_met in measured.verdicts() if options.only is None else ():
            print(f"{database}: {words}: {'met' if is_met else 'MISSED'}")
            met &= is_met
    return 0 if met else 1


class Run:
    """All rounds on one database.

    Args:
        site: the API's and the worker's.
        other: what the command line imports into.
        options: of the command line.
        console: shows each round.
    """

    def __init__(self, site: Site, other: Site, options: argparse.Namespace, console: Console) -> None:
        self._site, self._other, self._options, self._console = site, other, options, console
        self._measured = Measured()

    def measured(self) -> Measured:
        """Run them. The first round opens connections and warms caches, and doesn't count."""
        with Worker(self._site), Api(self._site) as api:
            accounts = [f"acct-{n}" for n in range(self._options.grants)]
            self._add(api, accounts)
            for number in range(self._options.rounds + 1):
                if number == 1:
                    self._measured = Measured()
                self._start()
                if self._options.only != "batch":
                    self._grants(api, accounts, number)
                if self._options.only != "grants":
                    self._batches(api, number)
        return self._measured

    def _add(self, api: Api, accounts: Sequence[str]) -> None:
        rows = (self._site.row(one, tokens=False) for one in accounts)
        _, outcomes = asyncio.run(post_batch(api.url, api.key, rows))
        if outcomes["added"] != len(accounts):
            raise BenchmarkBroken(f"not all accounts were added: {dict(outcomes)}")

    def _start(self) -> None:
        began = time.monotonic()
        with Api(self._site) as second:
            self._measured.start_s.append(time.monotonic() - began)
            self._measured.start_cpu_s.append(second.cpu_s())

    def _grants(self, api: Api, accounts: Sequence[str], number: int) -> None:
        found, measured = dict[int, Grants](), self._measured
        for at_once in (ALONE, FEW, MANY):
            cpu_s = api.cpu_s()
            found[at_once] = asyncio.run(
                put_grants(
                    api.url,
                    api.key,
                    self._site.redis_url,
                    accounts,
                    at_once=at_once,
                    round_name=f"{number}-{at_once}",
                )
            )
            used_ms = (api.cpu_s() - cpu_s) * 1000 / len(accounts)
        arriving = asyncio.run(
            arriving_grants(
                api.url, api.key, accounts, per_s=MIN_GRANTS_PER_S, round_name=f"{number}-arriving"
            )
        )
        measured.alone_p50_ms.append(median(found[ALONE].waits_s) * 1000)
        measured.arriving_p50_ms.append(median(arriving.waits_s) * 1000)
        waits = sorted(found[FEW].waits_s)
        measured.p50_ms.append(median(waits) * 1000)
        measured.p99_ms.append(waits[len(waits) * 99 // 100] * 1000)
        measured.grants_per_s.append(len(accounts) / found[MANY].took_s)
        measured.grant_cpu_ms.append(used_ms)
        self._console.print(
            f"round {number}: grants p50 {measured.p50_ms[-1]:.1f} ms (alone {measured.alone_p50_ms[-1]:.1f}, arriving "
            f"{measured.arriving_p50_ms[-1]:.1f}), {measured.grants_per_s[-1]:.0f}/s, "
            f"{used_ms:.2f} ms CPU each",
            style="dim",
        )

    def _batches(self, api: Api, number: int) -> None:
        ids = [f"batch-{number}-{n}" for n in range(self._options.rows)]
        rows = [self._site.row(one) for one in ids]
        file = self._other.folder / "rows.jsonl"
        file.write_bytes(b"".join(rows))
        for kind, outcome in zip(KINDS, ("added", "unchanged"), strict=True):
            api_s, worker_s = api.cpu_s(), self._site.worker_cpu_s()
            took_s, outcomes = asyncio.run(post_batch(api.url, api.key, iter(rows)))
            if outcomes[outcome] != len(rows):
                raise BenchmarkBroken(f"{kind} rows: {dict(outcomes)}")
            measured = self._measured
            measured.batch[kind].append(len(rows) / took_s)
            measured.api_cpu_ms[kind].append((api.cpu_s() - api_s) * 1000 / len(rows))
            measured.worker_cpu_ms[kind].append((self._site.worker_cpu_s() - worker_s) * 1000 / len(rows))
            took_s, cpu_s = import_file(self._other, file)
            measured.imported[kind].append(len(rows) / took_s)
            measured.import_cpu_ms[kind].append(cpu_s * 1000 / len(rows))
            self._console.print(
                f"round {number}: {kind} rows {measured.batch[kind][-1]:.0f}/s, CPU ms each: API "
                f"{measured.api_cpu_ms[kind][-1]:.3f}, worker {measured.worker_cpu_ms[kind][-1]:.3f}; import "
                f"{measured.imported[kind][-1]:.0f}/s, {measured.import_cpu_ms[kind][-1]:.3f}",
                style="dim",
            )


def table_of(database: str, measured: Measured, rounds: int) -> Table:
    """Return the medians as a table."""
    table = Table(title=f"{database}, medians of {rounds} rounds", title_justify="left")
    table.add_column("what", no_wrap=True)
    for heading in ("a second", "p50 ms", "p99 ms", "CPU ms each: API", "worker", "import"):
        table.add_column(heading, justify="right")
    if measured.grants_per_s:
        p50, p99 = median(measured.p50_ms), median(measured.p99_ms)
        table.add_row("PUT grant, alone", "", f"{median(measured.alone_p50_ms):.1f}", "", "", "", "")
        table.add_row(f"PUT grant, {FEW} at once", "", f"{p50:.1f}", f"{p99:.1f}", "", "", "")
        arriving = f"{median(measured.arriving_p50_ms):.1f}"
        table.add_row("PUT grant, arriving", f"{MIN_GRANTS_PER_S:g}", arriving, "", "", "", "")
        rate, cpu = median(measured.grants_per_s), median(measured.grant_cpu_ms)
        table.add_row(f"PUT grant, {MANY} at once", f"{rate:.0f}", "", "", f"{cpu:.2f}", "", "")
    for kind in KINDS if measured.batch["new"] else ():
        cpu_of_both = (f"{median(of[kind]):.3f}" for of in (measured.api_cpu_ms, measured.worker_cpu_ms))
        table.add_row(f"batch, {kind} rows", f"{median(measured.batch[kind]):.0f}", "", "", *cpu_of_both, "")
        cpu = median(measured.import_cpu_ms[kind])
        rate = median(measured.imported[kind])
        table.add_row(f"accounts import, {kind} rows", f"{rate:.0f}", "", "", "", "", f"{cpu:.3f}")
    start = f"start: {median(measured.start_s):.2f} s ({median(measured.start_cpu_s):.2f} s CPU)"
    table.caption = start
    return table


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkBroken as error:
        sys.exit(f"the benchmark is broken: {error}")
