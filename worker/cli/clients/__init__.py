"""`refreshd clients`: clients that many accounts share."""

from __future__ import annotations

import typer

from worker.cli.commands import COMMANDS
from worker.cli.terminal.lazy import add_commands

clients_app = typer.Typer(no_args_is_help=True)

add_commands(clients_app, COMMANDS["clients"])
