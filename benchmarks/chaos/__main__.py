"""`make chaos`: real workers, beats, Redis and database, broken for as long as you like, and a report.

    python -m benchmarks.chaos --minutes 60 --accounts 500 --workers 4 --database postgresql

The provider rotates refresh tokens, revokes on reuse and fails now and then; tokens live 20 seconds. The exit
code is 1 where anything is not zero that must be. The same seed makes the same disturbances in the same order.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys

from benchmarks.chaos.report import report, violations
from benchmarks.chaos.run import run
from benchmarks.chaos.stage import new_folder, staged
from tests.support.server_process import sigterm_ends_as_ctrl_c_does


def main() -> int:
    arguments = _arguments()
    sigterm_ends_as_ctrl_c_does()
    folder = new_folder()
    title = (
        f"chaos: seed {arguments.seed}, {arguments.accounts} accounts, {arguments.workers} workers, 2 beats,"
        f" {arguments.database}"
    )
    print(f"{title}\nlogs in {folder}", flush=True)
    with staged(
        accounts=arguments.accounts,
        workers=arguments.workers,
        database=arguments.database,
        seed=arguments.seed,
        folder=folder,
    ) as stage:
        outcome = run(stage, minutes=arguments.minutes, say=lambda line: print(line, flush=True))
        failed = any(violations(outcome).values())
        print(f"\n{report(outcome, title=title)}", flush=True)
    if not failed and not arguments.keep_logs:
        shutil.rmtree(folder)
    return int(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description="Break a fleet, and count what was lost.")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to disturb (default: 60)")
    parser.add_argument("--accounts", type=int, default=500, help="accounts (default: 500)")
    parser.add_argument("--workers", type=int, default=4, help="worker processes (default: 4)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--keep-logs", action="store_true", help="keep the logs of a run that found nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
