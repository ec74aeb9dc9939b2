"""What a command costs from its start to its end: user and system CPU of `token`, `explain`, `accounts show` and `add`.

    python -m benchmarks.commands

Each round runs every command once, beside a Python that does nothing and one that imports SQLAlchemy: a machine that
is busy is busy for all of them. On SQLite, with a Redis of its own. `explain` is asked about an account that a fleet has
just refreshed (that fleet's traces are written by hand) and, without a bar, about one that was never tried, for which it
asks which workers are there. Exit code 1: the median of a command is over its bar.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from redis import Redis
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from benchmarks.processes import BenchmarkBroken
from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import redis_server
from worker.db.engine import make_engine, writing

ROUNDS: Final = 9
#: A person who asks for one account waits for it; a script asks for hundreds.
READ_S: Final = 0.5
WRITE_S: Final = 0.6
#: What a machine takes for the least that a command could do.
BASELINES: Final = {"python": "pass", "python, sqlalchemy": "import sqlalchemy"}
UNTRIED: Final = "explain, never tried"
ACCOUNT: Final = (
    *("provider=benchmark", "token_url=https://benchmark.example/token", "client_id=benchmark"),
    *("client_secret=a-client-secret", "refresh_token={}", "access_token=an-access-token-of-this-account"),
    *("session_management=fixed", "session_timeout_s=3600"),
)
_MAIN: Final = ("-m", "worker.cli")
_WORKER: Final = "standard@benchmark"
#: What a fleet leaves behind: the account has a token, its next refresh is an hour away, a plan has just ended.
_TRACES: Final = (
    """
    UPDATE account SET generation = 2, expires_at = :now + 7200, next_refresh_at = :now + 3600, plan_at = :now + 3600,
        succeeded_at = :now, issued_at = :now WHERE id = 'read'
    """,
    """
    INSERT INTO attempt (id, account_id, trigger, opened_at, closed_at, worker, generation, generation_after,
        config_version, outcome, http_status, repeats)
    VALUES ('a', 'read', 'planned', :now - 1, :now, :worker, 1, 2, 1, 'refreshed', 200, 1)
    """,
    """
    INSERT INTO duty (name, until, finished_at) VALUES ('plan', 0, :now)
    ON CONFLICT (name) DO UPDATE SET finished_at = :now
    """,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    sigterm_ends_as_ctrl_c_does()
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as redis:
        took = _measure(Path(folder), redis.url, rounds)
    met = _show(took)
    return 0 if met else 1


def _measure(folder: Path, redis_url: str, rounds: int) -> dict[str, list[float]]:
    """Return CPU seconds by what was run; the first round compiles, and is left out."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
    env |= {"REFRESHD_REDIS_URL": redis_url, "REFRESHD_DATA_DIR": str(folder / "data"), "NO_COLOR": "1"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    run = _Runs(folder, env)
    run.command("db", "upgrade")
    run.command("accounts", "add", "read", *_fields(0))
    run.command("accounts", "add", "untried", *_fields(1))
    took: dict[str, list[float]] = {}
    for nth in range(rounds + 1):
        found = {name: run.python("-c", code) for name, code in BASELINES.items()}
        found["token"] = run.command("token", "read")
        _leave_traces(folder, redis_url)
        found["explain"] = run.command("explain", "read", codes=(0, 1))
        found[UNTRIED] = run.command("explain", "untried", codes=(0, 1))
        found["accounts show"] = run.command("accounts", "show", "read")
        found["accounts add"] = run.command("accounts", "add", f"added-{nth}", *_fields(nth + 2))
        for name, cpu_s in found.items():
            took.setdefault(name, [])
            if nth:
                took[name].append(cpu_s)
    return took


def _leave_traces(folder: Path, redis_url: str) -> None:
    engine = make_engine(f"sqlite:///{folder / 'data' / 'refreshd.db'}")
    now = time.time()
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM attempt"))
        for statement in _TRACES:
            connection.execute(text(statement), {"now": now, "worker": _WORKER})
    engine.dispose()
    with Redis.from_url(redis_url) as redis:
        redis.hset("refreshd:clocks", _WORKER, json.dumps({"at": now, "ahead_s": 0}))
        redis.hset("refreshd:token:{read}", mapping={"generation": 2})
        redis.hset("refreshd:account:{read}", mapping={"generation": 2})


def _fields(nth: int) -> list[str]:
    return [word.format(f"refresh-token-{nth}") for word in ACCOUNT]


class _Runs:
    """Runs programs in one folder and environment, and returns the CPU of each."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._folder = folder
        self._env = env

    def command(self, *words: str, codes: Sequence[int] = (0,)) -> float:
        return self.python(*_MAIN, *words, codes=codes)

    def python(self, *arguments: str, codes: Sequence[int] = (0,)) -> float:
        """Run a Python to its end, and return its seconds of user and system CPU.

        Raises:
            BenchmarkBroken: it ended with another exit code.
        """
        log = self._folder / "output"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in codes:
            raise BenchmarkBroken(f"{' '.join(arguments)}: exit code {process.returncode}: {log.read_text()}")
        return usage.ru_utime + usage.ru_stime


def _show(took: dict[str, list[float]]) -> bool:
    """Print a row a command; return whether each is within its bar."""
    table = Table("command", "CPU s, median", "least", "most", "of a Python with SQLAlchemy", "bar, s")
    least = median(took["python, sqlalchemy"])
    met = True
    for name, seconds in took.items():
        bar = None if name in {*BASELINES, UNTRIED} else WRITE_S if name == "accounts add" else READ_S
        middle = median(seconds)
        met &= bar is None or middle <= bar
        style = "red" if bar is not None and middle > bar else None
        cells = (f"{middle:.2f}", f"{min(seconds):.2f}", f"{max(seconds):.2f}", f"{middle / least:.2f}")
        table.add_row(name, *cells, "" if bar is None else f"{bar:g}", style=style)
    Console().print(table)
    return met


if __name__ == "__main__":
    sys.exit(main())
