"""`refreshd accounts`: everything about accounts."""

from __future__ import annotations

import typer

from worker.cli.commands import COMMANDS
from worker.cli.terminal.lazy import add_commands

accounts_app = typer.Typer(no_args_is_help=True)

add_commands(accounts_app, COMMANDS["accounts"])
