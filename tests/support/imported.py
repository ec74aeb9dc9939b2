"""Accounts as an operator brings them: a file, and `refreshd accounts import`; and `refreshd refresh`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.fleet import ROOT
from tests.support.forked import ran
from tests.support.sickness import write_accounts
from tests.support.world import World

#: A command that failed says why on stderr; more of it helps nobody.
_SHOWN: Final = 2000


def refreshd(world: World, *arguments: str, codes: Sequence[int] = (0,)) -> str:
    """Run a command with a world's settings and give what it prints.

    Args:
        world: whose settings.
        arguments: the command.
        codes: exit codes that are no failure.
    """
    result = ran(["worker.cli", *arguments], cwd=ROOT, env={**os.environ, **world.environment})
    assert result.returncode in codes, (
        f"{arguments}: {result.returncode}: {(result.stdout + result.stderr)[-_SHOWN:]}"
    )
    return result.stdout


def import_accounts(world: World, rows: Sequence[Mapping[str, object]], folder: Path) -> None:
    """Import rows; each must be added."""
    if not rows:
        return
    path = folder / "accounts.jsonl"
    write_accounts(path, rows)
    summary = json.loads(refreshd(world, "accounts", "import", "--json", str(path)))
    assert summary["added"] == len(rows), summary


def forced(world: World, account: str) -> dict[str, Any]:
    """Have one account refreshed whatever its plan says, and give the outcome."""
    printed = refreshd(world, "refresh", account, "--force", "--wait", "--json", codes=(0, 1))
    outcome: dict[str, Any] = json.loads(printed.splitlines()[0])
    return outcome
