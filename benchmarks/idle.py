"""What a large fleet costs while nothing is due: CPU of every process, the stores' included.

    python -m benchmarks.idle --accounts 1000000 --minutes 3

Fills PostgreSQL and Redis with a fleet that agrees, of which nothing comes due for an hour, and starts a beat, a standard worker and a
callback worker as an operator does. A part of what is counted is the slow comparison of Redis with the database, which reads all of
both in a while.

Exit code 1: it costs more than `BAR_S` CPU seconds a minute.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import psutil
from sqlalchemy import text

from benchmarks.comparison import publish
from benchmarks.processes import Process
from tests.support.large_fleet import analyze, fill
from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import postgres_server, redis_server
from worker.broker.queues import CALLBACK_WORKER, STANDARD_WORKER
from worker.crypto.cipher import generate_key
from worker.db.migrate import upgrade
from worker.runtime import Runtime
from worker.settings import load_settings

#: CPU seconds a minute, of all processes.
BAR_S: Final = 2.0
#: Seconds until account `n` is due: longer than filling and measuring take.
_DUE: Final = "3600 + n % 3600"
#: Processes have imported, connected and planned for the first time.
_SETTLED_S: Final = 30.0

_COMMANDS: Final = {
    "worker": STANDARD_WORKER,
    "callback worker": CALLBACK_WORKER,
    "beat": "celery -A worker.app beat",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=3.0)
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="refreshd-bench-")))
        redis = stack.enter_context(redis_server(folder))
        postgres = stack.enter_context(postgres_server(folder, durable=True))
        os.environ |= {
            "REFRESHD_DATABASE_URL": postgres.create_database("bench"),
            "REFRESHD_REDIS_URL": redis.url,
            "REFRESHD_KEYS": generate_key(),
            "REFRESHD_DATA_DIR": str(folder),
        }
        upgrade(os.environ["REFRESHD_DATABASE_URL"])
        runtime = Runtime(load_settings())
        try:
            runtime.run(runtime.reconciler.reconcile())  # Redis is filled, while there is nothing yet
            fill(runtime.engine, options.accounts, due=_DUE, attempts=0)
            analyze(runtime.engine)
            publish(runtime, options.accounts)
            with runtime.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("CHECKPOINT"))  # else PostgreSQL writes for minutes what was filled
            runtime.run(runtime.comparison.step())  # the first look at a server: a later one finds the same
        finally:
            runtime.close()
        pids = {"postgresql": postgres.pid, "redis": redis.pid}
        for name, command in _COMMANDS.items():
            process = Process(name, command.split(), folder=folder, env=os.environ)
            process.start()
            stack.callback(process.stop)
            pids[name] = process.pid
        time.sleep(_SETTLED_S)
        before, began_at = _cpu_s(pids), time.monotonic()
        time.sleep(options.minutes * 60)
        after, minutes = _cpu_s(pids), (time.monotonic() - began_at) / 60
    a_minute = {name: (after[name] - before[name]) / minutes for name in pids}
    for name, cpu_s in a_minute.items():
        print(f"{name}: {cpu_s:.2f} CPU s a minute")
    total = sum(a_minute.values())
    is_met = total <= BAR_S
    print(
        f"{options.accounts:,} accounts, nothing due: {total:.2f} CPU s a minute, "
        f"at most {BAR_S:g}: {'met' if is_met else 'MISSED'}"
    )
    return 0 if is_met else 1


def _cpu_s(pids: dict[str, int]) -> dict[str, float]:
    """Return the CPU seconds of each process and its children, ended ones included."""
    return {name: sum(map(_own, _family(pid))) for name, pid in pids.items()}


def _family(pid: int) -> list[psutil.Process]:
    leader = psutil.Process(pid)
    return [leader, *leader.children(recursive=True)]


def _own(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:4])


if __name__ == "__main__":
    sys.exit(main())
