"""How fast one process fills an emptied Redis again, from PostgreSQL and from SQLite.

    python -m benchmarks.refill

Imports accounts with live tokens, and has one reconcile pass after another meet an empty Redis. Wall time counts,
from the first question to the last token published; CPU is this process' own.

Exit code 1: fewer than `MIN_TOKENS_PER_S` were published a second, as the median of all rounds. A million
(`--rounds 1 --accounts 1000000 --database postgresql`) take seven minutes, five of them the import.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.contestants import REFRESHD
from benchmarks.processes import BenchmarkBroken, run
from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import empty_database, redis_server
from worker.crypto.cipher import generate_key
from worker.log import configure_logging
from worker.runtime import Runtime
from worker.settings import load_settings

#: A million within a minute.
MIN_TOKENS_PER_S: Final = 1_000_000 / 60
ACCOUNTS: Final = 50_000
ROUNDS: Final = 5
LIFETIME_S: Final = 86_400
#: Refreshed in the same second: so many tokens end together.
ACCOUNTS_OF_ONE_END: Final = 500
#: As long as a small JWT.
ACCESS_TOKEN: Final = "x" * 600


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), action="append")
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    met = True
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="refreshd-bench-")))
        redis = stack.enter_context(redis_server(folder))
        for number, database in enumerate(options.database or ["postgresql", "sqlite"]):
            url = stack.enter_context(empty_database(database, folder, durable=True))
            prepare(folder, database_url=url, redis_url=redis.url_of(number), accounts=options.accounts)
            speeds, costs = zip(*refill(options.rounds, options.accounts), strict=True)
            reached = median(speeds) >= MIN_TOKENS_PER_S
            met = met and reached
            print(
                f"{database}: {median(speeds):.0f} tokens/s, {median(costs):.1f} us CPU each, median of "
                f"{options.rounds}; at least {MIN_TOKENS_PER_S:.0f}: {'met' if reached else 'MISSED'}",
                flush=True,
            )
    return 0 if met else 1


def prepare(folder: Path, *, database_url: str, redis_url: str, accounts: int) -> None:
    """Store accounts, and set this process' environment to where they are."""
    os.environ |= {
        "REFRESHD_DATABASE_URL": database_url,
        "REFRESHD_REDIS_URL": redis_url,
        "REFRESHD_KEYS": generate_key(),
        "REFRESHD_DATA_DIR": str(folder),
    }
    entries = folder / "accounts.jsonl"
    with entries.open("w") as lines:
        for number in range(accounts):
            lines.write(json.dumps(_entry(number)) + "\n")
    for command in (("db", "upgrade"), ("accounts", "import", str(entries))):
        run((REFRESHD, *command), folder=folder, env=os.environ)


def refill(rounds: int, accounts: int) -> list[tuple[float, float]]:
    """Empty Redis and fill it, so many times; returns (tokens a second, us of CPU a token) of each round."""
    runtime = Runtime(load_settings())
    found: list[tuple[float, float]] = []
    try:
        for _ in range(rounds + 1):
            runtime.redis.flushdb()
            began_at, cpu_s = time.monotonic(), time.process_time()
            done = runtime.run(runtime.reconciler.reconcile())
            elapsed_s, cpu_s = time.monotonic() - began_at, time.process_time() - cpu_s
            if done is None or not done.refilled or done.published != accounts:
                raise BenchmarkBroken(f"not everything was published: {done}")
            found.append((accounts / elapsed_s, cpu_s * 1e6 / accounts))
    finally:
        runtime.close()
    return found[1:]  # the first one opens connections, and notes what the import had published


def _entry(number: int) -> dict[str, object]:
    return {
        "id": f"bench-{number}",
        "provider": "bench",
        "client_id": "bench-client",
        "client_secret": "bench-secret",
        "access_token": f"at-{number}-{ACCESS_TOKEN}",
        "refresh_token": f"rt-{number}",
        "token_url": "https://auth.example.com/token",
        "issued_at": int(time.time()),
        "expires_in": LIFETIME_S + number // ACCOUNTS_OF_ONE_END,
    }


if __name__ == "__main__":
    configure_logging("WARNING")
    try:
        sys.exit(main())
    except BenchmarkBroken as error:
        sys.exit(f"the benchmark is broken: {error}")
