"""How long a Redis that lost a part is wrong in a large fleet: a round of the comparison, from a restart to the last account.

    python -m benchmarks.comparison --accounts 1000000

Fills PostgreSQL and Redis with a fleet that agrees, deletes one token in a hundred, restarts Redis by kill -9, and makes the
steps that plans would make, one a second. What was deleted must be found, all of it and nothing else.

Exit code 1: the round took longer than `BAR_S`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import BenchmarkBroken
from refreshd_reader.contract import Keys
from tests.support.large_fleet import NOTHING_DUE, analyze, fill
from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import postgres_server, redis_server
from tests.support.waiting import wait_until
from worker.crypto.cipher import generate_key
from worker.db.migrate import upgrade
from worker.db.publication.comparison import ComparisonStore
from worker.log import configure_logging
from worker.runtime import Runtime
from worker.settings import load_settings

#: What is missing is published within two minutes at a million accounts.
BAR_S: Final = 120.0
ACCOUNTS: Final = 1_000_000
LOST_SHARE: Final = 100
#: Rows of `tests.support.large_fleet` have this generation.
GENERATION: Final = 5
#: As a plan comes.
STEP_EVERY_S: Final = 1.0
#: Redis reads a file of gigabytes after its restart.
_READ_S: Final = 600.0
#: Accounts in one round trip while Redis is filled.
_AT_ONCE: Final = 5_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    accounts = parser.parse_args().accounts
    sigterm_ends_as_ctrl_c_does()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="refreshd-bench-")))
        redis = stack.enter_context(redis_server(folder))
        url = stack.enter_context(postgres_server(folder, durable=True)).create_database("bench")
        os.environ |= {
            "REFRESHD_DATABASE_URL": url,
            "REFRESHD_REDIS_URL": redis.url,
            "REFRESHD_KEYS": generate_key(),
            "REFRESHD_DATA_DIR": str(folder),
        }
        upgrade(url)
        runtime = Runtime(load_settings())
        stack.callback(runtime.close)
        fill(runtime.engine, accounts, due=NOTHING_DUE, attempts=0)
        analyze(runtime.engine)
        publish(runtime, accounts)
        runtime.run(runtime.comparison.step())  # the look at the server before
        lost = delete(runtime, accounts)
        redis.kill()
        redis.start()
        wait_until(lambda: not loading(runtime), "Redis that has read its file", _READ_S)
        began_at, cpu_s, load = time.monotonic(), time.process_time(), os.getloadavg()[0]
        found = compare(runtime)
        took_s, cpu_s = time.monotonic() - began_at, time.process_time() - cpu_s
    if found != lost:
        raise BenchmarkBroken(f"{lost:,} tokens were deleted, and {found:,} found")
    met = took_s <= BAR_S
    print(
        f"{accounts:,} accounts: {took_s:.0f} s, {cpu_s * 1e6 / accounts:.1f} us CPU each, {lost:,} deleted and found, at a "
        f"load of {load:.0f} on {os.cpu_count()} cores; at most {BAR_S:.0f} s: {'met' if met else 'MISSED'}"
    )
    return 0 if met else 1


def publish(runtime: Runtime, accounts: int) -> None:
    """Write what the database says of each account."""
    keys, now = Keys(), int(time.time())
    for first in range(1, accounts + 1, _AT_ONCE):
        pipeline: Any = runtime.redis.pipeline(transaction=False)
        for number in range(first, min(first + _AT_ONCE, accounts + 1)):
            account = f"acct-{number}"
            pipeline.hset(keys.account(account), mapping={"status": "active", "generation": GENERATION})
            token = {"access_token": "x" * 600, "generation": GENERATION, "issued_at": now}
            pipeline.hset(keys.token(account), mapping=token)
        pipeline.execute()


def delete(runtime: Runtime, accounts: int) -> int:
    """Delete one token in a hundred, and return how many."""
    lost = [Keys().token(f"acct-{number}") for number in range(1, accounts + 1, LOST_SHARE)]
    for first in range(0, len(lost), _AT_ONCE):
        runtime.redis.delete(*lost[first : first + _AT_ONCE])
    return len(lost)


def loading(runtime: Runtime) -> bool:
    """Return whether Redis still reads its file."""
    found: Any = runtime.redis.info("persistence")
    return bool(found["loading"])


def compare(runtime: Runtime) -> int:
    """Make steps until a round has ended, and return how much was missing."""
    store, missing = ComparisonStore(runtime.engine), 0
    while True:
        began_at = time.monotonic()
        done = runtime.run(runtime.comparison.step())
        missing += done.missing if done else 0
        if not store.state().progress.under_way:
            return missing
        time.sleep(max(0.0, STEP_EVERY_S - (time.monotonic() - began_at) % STEP_EVERY_S))


if __name__ == "__main__":
    configure_logging("WARNING")
    try:
        sys.exit(main())
    except BenchmarkBroken as error:
        sys.exit(f"the benchmark is broken: {error}")
