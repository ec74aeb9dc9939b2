"""What the reader's benchmark rests on: it measures what it says, and its bar can be missed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.reader import MAX_READ_RATIO, Contestant, _table

ROOT = Path(__file__).parents[3]


async def _unused(_: int) -> float:
    raise AssertionError


@pytest.mark.parametrize(("ratio", "met"), [(MAX_READ_RATIO - 0.01, True), (MAX_READ_RATIO + 0.01, False)])
def test_the_bar_can_be_missed(ratio: float, *, met: bool) -> None:
    bare = Contestant("sync", "bare", _unused, us=[100.0, 100.0, 900.0])
    read = Contestant(
        "sync", "read", _unused, MAX_READ_RATIO, us=[100.0 * ratio, 100.0 * ratio, 100.0 * ratio]
    )
    assert _table([bare, read], 3)[1] is met


@pytest.mark.e2e
def test_it_runs_from_the_command_line() -> None:
    """With too few rounds for a verdict."""
    command = [sys.executable, "-m", "benchmarks.reader", "--rounds", "3", "--reads", "5"]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert ran.returncode in {0, 1}, ran.stderr
    assert ran.stdout.count("get(account)") == 4
