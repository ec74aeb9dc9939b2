"""`refreshd keys`: the keys that seal secrets at rest."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli.terminal.console import err, out
from worker.cli.terminal.lazy import add_lazy_command
from worker.crypto.cipher import generate_key, parse_keys

keys_app = typer.Typer(
    help="The keys that seal secrets at rest (REFRESHD_KEYS; the first one writes).", no_args_is_help=True
)


@keys_app.command("generate")
def generate(
    key_id: Annotated[
        str, typer.Argument(help="The new key's id: letters, digits, - and _.", metavar="ID")
    ] = "k1",
) -> None:
    """Make a new key, ready for REFRESHD_KEYS. It is printed once and kept nowhere."""
    key = generate_key(key_id)
    parse_keys(key)
    out.print(key, markup=False, soft_wrap=True)
    err.print(
        "To rotate: put it first in REFRESHD_KEYS (NEW,OLD) of every worker, restart them, `refreshd keys rotate`,\n"
        "`refreshd keys check`, then take the old one out.",
        style="dim",
    )


add_lazy_command(
    keys_app,
    "list",
    "worker.cli.keys.stored:list_keys",
    "Show which keys are configured and how many values each one sealed. Keys themselves are never shown.",
)
add_lazy_command(
    keys_app,
    "rotate",
    "worker.cli.keys.stored:rotate_keys",
    "Seal everything with the first key. Runs beside workers, in batches; Ctrl-C and run again to go on.",
)
add_lazy_command(
    keys_app,
    "check",
    "worker.cli.keys.stored:check_keys",
    "Open every sealed value, change none, and name the accounts that do not open. Answers that wait in Redis count.",
)
