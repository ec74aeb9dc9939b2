"""`python -m tests.contract.fuzz [--minutes M] [TARGET...]`: cases at random for so long; exit code 1 where one is a finding."""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import structlog
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.contract.fuzz.mutation import Check, Target
from tests.contract.fuzz.targets import TARGETS
from tests.support.server_process import sigterm_ends_as_ctrl_c_does

#: Cases after which a new seed is taken.
ROUND: Final = 1_000
#: One case takes milliseconds of this process' own time; what takes so many seconds of it hangs.
HANGS_AFTER_S: Final = 10


class Hangs(Exception):
    """One case took longer than any may."""


def _alarm(_signal: int, _frame: FrameType | None) -> None:
    raise Hangs


@contextmanager
def in_time(limit_s: int) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def tried(target: Target, check: Check, seconds: float) -> tuple[int, dict[str, str]]:
    """Try cases until the time is over. Returns how many, and of each finding the shortest case with its traceback."""
    ends_at = time.monotonic() + seconds
    cases = 0
    findings: dict[str, str] = {}
    shortest: dict[str, int] = {}

    def one(case: Any) -> None:
        nonlocal cases
        if time.monotonic() > ends_at:
            return
        cases += 1
        try:
            with in_time(HANGS_AFTER_S):
                check(case)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is a finding)
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {last.filename.rpartition('/')[2]}:{last.lineno}"
            if len(repr(case)) < shortest.get(where, sys.maxsize):
                shortest[where] = len(repr(case))
                findings[where] = f"{''.join(traceback.format_exception(error))[-3000:]}{repr(case)[:3000]}"

    while time.monotonic() < ends_at:
        seed(random.getrandbits(64))(
            settings(
                max_examples=ROUND,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
            )(given(case=target.cases)(one))
        )()
    return cases, findings


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.contract.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for each target (default: %(default)s)")
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of: {', '.join(TARGETS)} (default: all)"
    )
    asked = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    unknown = [name for name in asked.targets if name not in TARGETS]
    if unknown:
        parser.error(f"{unknown[0]!r} is no target: {', '.join(TARGETS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    signal.signal(signal.SIGVTALRM, _alarm)
    found = 0
    for name in asked.targets or TARGETS:
        target = TARGETS[name]
        with target.opened() as check:
            cases, findings = tried(target, check, asked.minutes * 60)
        found += len(findings)
        for where, shown in findings.items():
            print(f"FINDING {where}\n{shown}", flush=True)
        print(
            f"{name}: {cases * target.inputs_a_case:,} inputs in {asked.minutes:g} min, {len(findings)} findings",
            flush=True,
        )
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
