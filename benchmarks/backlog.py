"""How a backlog is worked off, in simulated time: the real planner on a real database, workers of a known speed.

    python -m benchmarks.backlog --due 20000 --requests-per-s 85
    python -m benchmarks.backlog --due 100000 --requests-per-s 700 --database postgresql

Due accounts whose tokens end at the rate at which they can be refreshed, and `--spare` seconds later: in the order of need no
token ends before its refresh is begun. Prints how many did, how late they were begun, how far out of order, and how long
workers had nothing to do. Exit code 1: a token ended that need not.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import empty_database
from tests.support.simulated_fleet import SimulatedFleet
from worker.db.engine import make_engine
from worker.db.migrate import upgrade

#: A cold fleet begins slowly, and is done this much later, seconds.
_RAMP_S: Final = 15


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--due", type=int, default=20_000)
    parser.add_argument("--requests-per-s", type=int, default=85)
    parser.add_argument(
        "--spare", type=float, default=15.0, help="seconds that each token lives longer than it has to"
    )
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    with tempfile.TemporaryDirectory() as folder, empty_database(options.database, Path(folder)) as url:
        return _run(url, options)


def _run(url: str, options: argparse.Namespace) -> int:
    upgrade(url)
    engine = make_engine(url)
    fleet = SimulatedFleet(engine, options.requests_per_s)
    chance = random.Random(15)
    ends = {f"acct-{n:07}": options.spare + n / options.requests_per_s for n in range(options.due)}
    order = chance.sample(sorted(ends), len(ends))
    began, start = time.perf_counter(), fleet.now
    fleet.add([(name, -chance.uniform(0, 300), ends[name]) for name in order])
    fleet.run(options.due // options.requests_per_s + _RAMP_S)
    late = sorted(max(at - start - ends[name], 0.0) for name, at in fleet.begun_at.items())
    ideal = {name: n / options.requests_per_s for n, name in enumerate(sorted(ends))}
    behind = max(at - start - ideal[name] for name, at in fleet.begun_at.items())
    Console().print(
        f"{options.database}, {options.due:,} due at {options.requests_per_s}/s: {len(fleet.begun_at):,} begun, "
        f"{sum(one > 0 for one in late):,} after their token had ended (p99 {late[int(len(late) * 0.99)]:.1f} s late, worst "
        f"{late[-1]:.1f} s), {behind:.1f} s behind an ideal order at the most, idle {fleet.idle_s - _RAMP_S:.1f} s; "
        f"simulated in {time.perf_counter() - began:.0f} s"
    )
    engine.dispose()
    return 1 if late[-1] > 0 or len(late) < options.due else 0


if __name__ == "__main__":
    sys.exit(main())
