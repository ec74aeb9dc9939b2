"""`refreshd api-keys`: keys of the run-time API."""

from __future__ import annotations

import typer

from worker.cli.commands import COMMANDS
from worker.cli.terminal.lazy import add_commands

api_keys_app = typer.Typer(no_args_is_help=True)

add_commands(api_keys_app, COMMANDS["api-keys"])
