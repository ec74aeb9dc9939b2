"""Whether sick accounts cost healthy ones a token, or a part of their pace.

    python -m benchmarks.isolation --minutes 10

Two fleets side by side, each with stores, a worker and a beat of its own, so that a busy machine is busy for both: 2,000
accounts of 20 tenants (a client each, two tenants on a port) and the same without the tenth that is sick, each
tenant's in another way (`tests/support/sickness.py`). Half of the sick ones worked before, where their kind allows it.

    python -m benchmarks.isolation --down --accounts 10000

What an origin hears that answers nothing but 503: calls a second at 10 accounts and at 10,000.

Exit code 1: a reader found no token of a healthy account that had one; the healthy ones' pace is more than 2 % off; or an
origin that is down heard more than its bound.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.isolation_down import measure
from benchmarks.isolation_side import PARTS, Side, side
from benchmarks.processes import BenchmarkBroken
from tests.support.server_process import sigterm_ends_as_ctrl_c_does

ACCOUNTS: Final = 2000
MINUTES: Final = 10.0
#: Short enough for twenty refreshes of each account in ten minutes.
LIFETIME_S: Final = 60.0
#: With `--down`: long enough for 10,000 accounts to have their first token on a busy machine before one is due again.
DOWN_LIFETIME_S: Final = 300.0
DOWN_MINUTES: Final = 6.0
DOWN_ACCOUNTS: Final = (10, 10_000)
#: How far the healthy ones' pace may be from that of the same accounts without the sick.
MOST_OFF: Final = 0.02
#: Until each account has its first token.
START_DEADLINE_S: Final = 300.0
#: The table's, where there is no terminal.
WIDTH: Final = 130
_SHOW_EVERY_S: Final = 1.0
#: What Ctrl-C ends a program with.
_INTERRUPTED: Final = 130


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--minutes", type=float, default=None, help=f"default: {MINUTES:g}; with --down {DOWN_MINUTES:g}"
    )
    parser.add_argument(
        "--accounts", type=int, default=None, help=f"default: {ACCOUNTS}; with --down {DOWN_ACCOUNTS[-1]}"
    )
    parser.add_argument(
        "--lifetime-s",
        type=float,
        default=None,
        help=f"default: {LIFETIME_S:g}; with --down {DOWN_LIFETIME_S:g}",
    )
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--down", action="store_true", help="calls a second at an origin that is down")
    parser.add_argument("--keep-logs", action="store_true", help="keep the logs of a run that missed nothing")
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    folder = Path(tempfile.mkdtemp(prefix="refreshd-isolation-"))
    print(f"logs in {folder}", flush=True)
    met = False
    try:
        met = (_down if options.down else _beside)(options, folder, console)
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        if met and not options.keep_logs:
            shutil.rmtree(folder)
    return 0 if met else 1


def _down(options: argparse.Namespace, folder: Path, console: Console) -> bool:
    table, met = measure(
        (DOWN_ACCOUNTS[0], options.accounts or DOWN_ACCOUNTS[-1]),
        minutes=options.minutes or DOWN_MINUTES,
        lifetime_s=options.lifetime_s or DOWN_LIFETIME_S,
        database=options.database,
        folder=folder,
        show=lambda words: _show(console, words),
    )
    console.print(table)
    return met


def _beside(options: argparse.Namespace, folder: Path, console: Console) -> bool:
    asked = {
        "accounts": options.accounts or ACCOUNTS,
        "lifetime_s": options.lifetime_s or LIFETIME_S,
        "database": options.database,
    }
    with ExitStack() as stack:
        alone = stack.enter_context(side(folder / "alone", with_sick=False, **asked))
        beside = stack.enter_context(side(folder / "beside", with_sick=True, **asked))
        for part in range(PARTS):
            for one in (alone, beside):
                one.move_in(part)
        _wait(lambda: all(one.absence.have(one.healthy) for one in (alone, beside)))
        for one in (alone, beside):
            one.turn()
            one.absence.absent.clear()
        _watch(alone, beside, (options.minutes or MINUTES) * 60, console)
        return _judge(alone, beside, console)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkBroken(f"not every account had a token within {START_DEADLINE_S:g} seconds")
        time.sleep(_SHOW_EVERY_S)


def _watch(alone: Side, beside: Side, seconds: float, console: Console) -> None:
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        for one in (alone, beside):
            one.absence.check()
        _show(
            console,
            f"{passed:.0f} s of {seconds:.0f}: looks without a token {beside.absent(beside.healthy)}"
            f" (alone {alone.absent(alone.healthy)}), refreshes/s {beside.pace.per_s(beside.healthy):.1f}"
            f" (alone {alone.pace.per_s(alone.healthy):.1f})",
        )
        time.sleep(_SHOW_EVERY_S)
    _show(console, "")


def _show(console: Console, words: str) -> None:
    """Overwrite one line, on a terminal."""
    if console.is_terminal:
        print(f"\r\x1b[K{words}", end="", flush=True)


def _judge(alone: Side, beside: Side, console: Console) -> bool:
    table = Table(title=f"{len(beside.healthy)} healthy accounts of {len(beside.tenants)} tenants")
    table.add_column("tenant")
    table.add_column("its sick accounts")
    for heading in (
        "sick",
        "their calls",
        "looks without a healthy token",
        "accounts",
        "pace beside / alone",
    ):
        table.add_column(heading, justify="right")
    table.add_column("healthy ones held")
    held = beside.held()
    for tenant in beside.tenants:
        without = [account for account in tenant.healthy if beside.absence.absent[account]]
        reasons = held[tenant.name]
        table.add_row(
            tenant.name,
            tenant.sickness.name,
            str(len(tenant.sick)),
            str(beside.sick_calls[tenant.name]) if tenant.sickness.where != "nowhere" else "-",
            str(beside.absent(tenant.healthy)),
            str(len(without)),
            f"{_share(beside, alone, tenant.healthy):.3f}",
            ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items())) or "-",
        )
    console.print(table)
    looks, share = beside.absent(beside.healthy), _share(beside, alone, beside.healthy)
    print(
        f"looks without a healthy token: {looks} (must be 0; alone {alone.absent(alone.healthy)});"
        f" pace {share:.4f} of that without the sick (must be within {MOST_OFF:.0%})"
    )
    return not looks and abs(share - 1) <= MOST_OFF


def _share(beside: Side, alone: Side, accounts: list[str]) -> float:
    without_sick = alone.pace.per_s(accounts)
    return beside.pace.per_s(accounts) / without_sick if without_sick else 0.0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkBroken as error:
        sys.exit(f"the benchmark is broken: {error}")
