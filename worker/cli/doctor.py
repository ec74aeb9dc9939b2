"""`refreshd doctor`: the installation, checked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from worker.cli.output import out, print_json, stores
from worker.cli.workers import alive_workers
from worker.doctor import Level, examine

_MARKS = {Level.OK: ("ok  ", "green"), Level.WARNING: ("warn", "yellow"), Level.FAILED: ("FAIL", "bold red")}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """Check the installation: versions, schema, Redis, clocks, keys, beat, workers, settings.

    Exits with 1 where a check failed; warnings alone exit with 0.
    """
    failed = 0
    for one in examine(stores(), alive_workers):
        failed += one.level is Level.FAILED
        if as_json:
            print_json(asdict(one))
            continue
        mark, style = _MARKS[one.level]
        out.print(Text.assemble((mark, style), f"  {one.check}: {one.words}"), soft_wrap=True)
        if one.remedy:
            out.print(Text(f"      -> {one.remedy}", style="cyan"), soft_wrap=True)
    if failed:
        raise typer.Exit(1)
