"""`refreshd doctor`: the installation, checked."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from worker.celery.inspect import staff_or_none
from worker.cli.terminal.console import out, print_json
from worker.cli.terminal.context import open_stores
from worker.diagnostics.doctor import Level, run_checks

_MARKS = {Level.OK: ("ok  ", "green"), Level.WARNING: ("warn", "yellow"), Level.FAILED: ("FAIL", "bold red")}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """Exits with 1 if a check failed, for CI; warnings alone exit with 0."""
    failed = warned = 0
    with open_stores() as here:
        for one in run_checks(here, staff_or_none):
            failed += one.level is Level.FAILED
            warned += one.level is Level.WARNING
            if as_json:
                print_json(one.as_json())
                continue
            mark, style = _MARKS[one.level]
            out.print(Text.assemble((mark, style), f"  {one.check}: {one.message}"), soft_wrap=True)
            if one.hint:
                out.print(Text(f"      -> {one.hint}", style="cyan"), soft_wrap=True)
    if not as_json:
        summary = f"{failed} failed, {warned} to look at" if failed or warned else "Everything holds."
        out.print(
            Text(f"\n{summary}", style="bold red" if failed else "bold yellow" if warned else "bold green")
        )
    if failed:
        raise typer.Exit(1)
