"""How fast standard refreshes stay while ten callbacks hang beside them, asleep or spinning.

    python -m benchmarks.callbacks

One standard worker process refreshes against a loopback provider with 200 ms latency; a callback worker with ten
threads stands beside it, on the same two stores and the same machine. They take turns: nothing hangs, ten
sleep, nothing hangs, ten spin, and so on. Each measurement is compared with the mean of the two quiet ones around it:
what else the machine does meanwhile was there for both. What counts is the median of these ratios. Rounds go on until
they agree on which side of the bar it lies (a sign test), and no longer than `--rounds`.

Exit code 1: less than 90 % is left.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from benchmarks.bar import MIN_LEFT, agree, left
from benchmarks.contestants import REFRESHD, Place, Refreshd
from benchmarks.hanging_callbacks import HANGING, HOLD, KINDS
from benchmarks.processes import Process, run
from benchmarks.refresh import servers
from benchmarks.revision import GROUP_SIZE
from tests.support.server_process import sigterm_ends_as_ctrl_c_does

ROUNDS: Final = 12
ACCOUNTS: Final = 2000
#: Longer than a round, and shorter than what a worker waits for its pool when it is stopped.
CALL_TIMEOUT_S: Final = 120
#: Ten processes start an interpreter each before the first callback hangs: on a machine that does other things, too.
TEN_WITHIN_S: Final = 300.0
_ROOT: Final = Path(__file__).parents[1]
#: Kind -> (refreshes/s beside ten of it, refreshes/s without), one a round.
Speeds = dict[str, list[tuple[float, float]]]


class StandardBesideCallbacks(Refreshd):
    """The standard worker of `benchmarks.refresh`, and a callback worker on the same stores."""

    def __init__(self, place: Place, *, accounts: int) -> None:
        super().__init__(place, accounts=accounts)
        self.env |= {"REFRESHD_CALL_TIMEOUT_S": str(CALL_TIMEOUT_S), "BENCH_FOLDER": str(place.folder)}
        environment = {
            **self.env,
            "PYTHONPATH": str(_ROOT),
            "REFRESHD_CALLBACK_MODULES": "benchmarks.hanging_callbacks",
        }
        command = (
            "celery",
            "-A",
            "worker.app",
            "worker",
            "-P",
            "threads",
            "-c",
            str(HANGING),
            "-Q",
            "callback",
        )
        self._callbacks = Process("callbacks", (*command, "-l", "INFO"), folder=place.folder, env=environment)

    def prepare(self) -> None:
        super().prepare()
        accounts = self._place.folder / "callbacks.jsonl"
        rows = [
            {"id": f"{kind}-{n}", "refresh_method": "callback", "callback": f"{kind}-{n}", "access_token": "old",
             "client_id": "client", "session_management": "none"}
            for kind in KINDS for n in range(HANGING)
        ]  # fmt: skip
        accounts.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        run((REFRESHD, "accounts", "import", str(accounts)), folder=self._place.folder, env=self.env)

    def start(self) -> None:
        super().start()
        self._callbacks.start()

    def stop(self) -> None:
        self._callbacks.stop()
        super().stop()

    @contextmanager
    def hanging(self, kind: str) -> Iterator[None]:
        """Have ten callbacks of a kind hang until the block ends."""
        hold = self._place.folder / HOLD
        hold.touch()
        for account, generation in self._rows("callback"):
            if account.startswith(kind):
                message = {"accounts": [[account, generation]], "reason": "forced"}
                self._queue.send_task("refreshd.refresh", kwargs=message, queue="callback")
        self._callbacks.wait_for(
            lambda: self._running() == HANGING, within_s=TEN_WITHIN_S, what="ten callbacks that hang"
        )
        try:
            yield
        finally:
            hold.unlink()
            self._callbacks.wait_for(
                lambda: self._running() == 0, within_s=TEN_WITHIN_S, what="the end of ten callbacks"
            )

    def messages(self) -> list[dict[str, Any]]:
        pairs = [[account, generation] for account, generation in self._rows("body")]
        groups = (pairs[n : n + GROUP_SIZE] for n in range(0, len(pairs), GROUP_SIZE))
        return [
            {"name": "refreshd.refresh", "kwargs": {"accounts": group, "reason": "forced"}, "queue": "urgent"}
            for group in groups
        ]

    def refreshes(self) -> int:
        return self._number("SELECT sum(generation) FROM account WHERE refresh_method = 'body'")

    def unpublished(self) -> int:
        return self._number(
            "SELECT count(*) FROM account WHERE published_generation < generation AND refresh_method = 'body'"
        )

    def _rows(self, method: str) -> list[tuple[str, int]]:
        statement = text("SELECT id, generation FROM account WHERE refresh_method = :method")
        with self._engine.connect() as connection:
            return [
                (str(i), int(generation))
                for i, generation in connection.execute(statement, {"method": method})
            ]

    def _running(self) -> int:
        return sum(1 for _ in self._place.folder.glob("*.running"))


def compete(worker: StandardBesideCallbacks, rounds: int, console: Console) -> tuple[list[float], Speeds]:
    """Measure in turn until it is clear; returns the quiet speeds, and each kind's with the quiet ones around it."""
    worker.measure()  # opens connections, and doesn't count
    quiet = [worker.measure().refreshes_per_s]
    speeds: Speeds = {kind: [] for kind in KINDS}
    for number in range(rounds):
        for kind in KINDS:
            with worker.hanging(kind):
                beside = worker.measure().refreshes_per_s
            quiet.append(worker.measure().refreshes_per_s)
            speeds[kind].append((beside, (quiet[-2] + quiet[-1]) / 2))
        said = ", ".join(f"{kind} {values[-1][0] / values[-1][1]:.0%}" for kind, values in speeds.items())
        console.print(f"round {number + 1}: {said} of {quiet[-1]:.0f}/s")
        if all(agree(left(values)) for values in speeds.values()):
            break
    return quiet, speeds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="at most")
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    console = Console()
    began_at = time.monotonic()
    with servers() as (provider, redis, postgres, folder):
        place = Place(postgres.create_database("bench"), redis.url, provider, folder)
        worker = StandardBesideCallbacks(place, accounts=ACCOUNTS)
        worker.start()
        try:
            quiet, speeds = compete(worker, options.rounds, console)
        finally:
            worker.stop()
    table = Table("ten callbacks", "standard refreshes/s (median)", "left (median of ratios)", "from ... to")
    table.add_row("none", f"{statistics.median(quiet):.0f}", "", "")
    met = True
    for kind, values in speeds.items():
        ratios = left(values)
        median = statistics.median(ratios)
        met &= median >= MIN_LEFT
        table.add_row(
            kind,
            f"{statistics.median(beside for beside, _ in values):.0f}",
            f"{median:.0%} (at least {MIN_LEFT:.0%}){'' if median >= MIN_LEFT else ' MISSED'}",
            f"{min(ratios):.0%} ... {max(ratios):.0%}",
        )
    console.print(table)
    rounds = len(next(iter(speeds.values())))
    console.print(f"{rounds} rounds of {ACCOUNTS} in {time.monotonic() - began_at:.0f} s")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
