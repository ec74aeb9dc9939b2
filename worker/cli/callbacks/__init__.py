"""`refreshd callbacks`: which there are, a skeleton of a new one, and a run as in production."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.callbacks.new import write_skeleton
from worker.cli.commands import COMMANDS
from worker.cli.terminal.console import out
from worker.cli.terminal.lazy import add_commands

callbacks_app = typer.Typer(no_args_is_help=True)

add_commands(callbacks_app, COMMANDS["callbacks"])


@callbacks_app.command("new")
def new_command(
    name: Annotated[str, typer.Argument(help="What accounts will say as `callback: NAME`.", metavar="NAME")],
    folder: Annotated[Path, typer.Option(help="Where to write it.", file_okay=False)] = Path(),
) -> None:
    """Write a commented skeleton of a callback and its test. Nothing that is there is overwritten."""
    written = write_skeleton(name, folder)
    for file in (written.callback, written.test):
        out.plain(f"wrote {file}")
    out.plain(f"\n{written.next_steps}")
