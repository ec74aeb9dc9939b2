"""From a connector's report of a rejected token to the new token in its hands, through one worker process.

    python -m benchmarks.report

Against a loopback provider with 200 ms latency, on PostgreSQL and on SQLite. One report at a time, each of an
account that was not reported before; the clock runs from before `report_rejected` to after `wait_for`. After each,
one bare call of the provider says what its latency is at that moment: a busy machine is busy for both.

Exit code 1: the median is more than 50 ms above the provider's latency, or the provider saw more than one call
for a report.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.contestants import Place, Refreshd
from benchmarks.processes import START_DEADLINE_S, BenchmarkBroken, Provider
from refreshd_reader import Reader
from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import empty_database, redis_server

LATENCY_MS: Final = 200.0
#: What everything but the provider may take, median.
MAX_BESIDE_PROVIDER_MS: Final = 50.0
REPORTS: Final = 50
#: They open connections and load what is loaded late, and do not count.
WARM_UP: Final = 5


def met(took_ms: list[float], *, latency_ms: float) -> bool:
    """Return whether the bar is met."""
    return median(took_ms) <= latency_ms + MAX_BESIDE_PROVIDER_MS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reports", type=int, default=REPORTS)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), action="append")
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    table = Table(title=f"From the report to the new token, {options.reports} reports")
    table.add_column("database")
    for heading in ("provider ms", "median ms", "beside the provider ms", "9 of 10 within ms", "at most"):
        table.add_column(heading, justify="right")
    all_met = True
    with tempfile.TemporaryDirectory(prefix="refreshd-bench-") as folder:
        for database in options.database or ["postgresql", "sqlite"]:
            with _place(database, Path(folder) / database) as place:
                took_ms, bare_ms = _measure(place, options.reports)
                calls = place.provider.tally()["requests"]
            latency_ms, expected = median(bare_ms), 2 * (options.reports + WARM_UP) - 1
            is_met = met(took_ms, latency_ms=latency_ms)
            all_met &= is_met and calls == expected
            table.add_row(
                database,
                f"{latency_ms:.1f}",
                f"{median(took_ms):.1f}" + ("" if is_met else " MISSED"),
                f"{median(took_ms) - latency_ms:.1f}",
                f"{quantiles(took_ms, n=10)[-1]:.1f}",
                f"{latency_ms + MAX_BESIDE_PROVIDER_MS:.1f}",
            )
            if calls != expected:
                print(f"{database}: the provider saw {calls} calls instead of {expected}")
    Console().print(table)
    return 0 if all_met else 1


@contextmanager
def _place(database: str, folder: Path) -> Iterator[Place]:
    folder.mkdir()
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder))
        url = stack.enter_context(empty_database(database, folder, durable=True))
        provider = stack.enter_context(Provider(latency_ms=LATENCY_MS, folder=folder, env=os.environ))
        yield Place(url, redis.url, provider, folder)


def _measure(place: Place, reports: int) -> tuple[list[float], list[float]]:
    """Return what each report and each bare call took."""
    worker = Refreshd(place, accounts=reports + WARM_UP)
    with ExitStack() as stack, Reader.from_url(place.redis_url) as reader:
        stack.callback(worker.stop)
        worker.start()
        first, *rest = worker.accounts
        _replaced_ms(reader, first, timeout_s=START_DEADLINE_S)  # a report waits for the first worker
        bare = stack.enter_context(httpx.Client(trust_env=False))
        took = [
            (_replaced_ms(reader, account), _bare_ms(bare, place.provider.token_url, number))
            for number, account in enumerate(rest)
        ]
    counted = took[WARM_UP - 1 :]
    return [reported for reported, _ in counted], [called for _, called in counted]


def _bare_ms(client: httpx.Client, token_url: str, number: int) -> float:
    began_at = time.perf_counter()
    client.post(token_url, data={"refresh_token": f"bare.{number}"}).raise_for_status()
    return (time.perf_counter() - began_at) * 1000


def _replaced_ms(reader: Reader, account: str, *, timeout_s: float = 10.0) -> float:
    generation = reader.get(account).generation
    began_at = time.perf_counter()
    reader.report_rejected(account, generation, 401)
    reader.wait_for(account, newer_than=generation, timeout_s=timeout_s)
    return (time.perf_counter() - began_at) * 1000


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkBroken as error:
        sys.exit(f"the benchmark is broken: {error}")
