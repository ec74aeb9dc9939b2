"""`refreshd keys`: the keys that seal secrets at rest."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli.commands import COMMANDS
from worker.cli.terminal.console import err, out
from worker.cli.terminal.lazy import add_commands
from worker.crypto.cipher import generate_key, parse_keys

keys_app = typer.Typer(no_args_is_help=True)


@keys_app.command("generate")
def generate(
    key_id: Annotated[
        str | None,
        typer.Argument(
            help="The new key's id: letters, digits, - and _. Made from the date by default.", metavar="ID"
        ),
    ] = None,
) -> None:
    """Make a new key, ready for REFRESHD_KEYS. It is printed once and not stored."""
    key = generate_key(key_id)
    parse_keys(key)
    out.plain(key)
    err.print(
        "To rotate: put it first in REFRESHD_KEYS (NEW,OLD) of every worker, restart them, `refreshd keys rotate`,\n"
        "`refreshd keys check`, then take the old one out.",
        style="dim",
    )


add_commands(keys_app, COMMANDS["keys"])
