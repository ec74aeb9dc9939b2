"""`refreshd webhooks`: a secret to sign with, and what was sent."""

from __future__ import annotations

import base64
import secrets

import typer

from worker.cli.commands import COMMANDS
from worker.cli.terminal.console import err, out
from worker.cli.terminal.lazy import add_commands

webhooks_app = typer.Typer(no_args_is_help=True)
#: Bytes of a new secret; Standard Webhooks wants 24 to 64.
_SECRET_BYTES = 32


@webhooks_app.command("secret")
def secret() -> None:
    """Make a new signing secret, ready for REFRESHD_WEBHOOK_SECRET. It is printed once and kept nowhere."""
    key = base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    out.plain(f"whsec_{key}")
    err.print(
        "Set it for every worker and for the receiver. To replace an old one: REFRESHD_WEBHOOK_SECRET=NEW,OLD signs with both\n"
        "until the receiver has the new one.",
        style="dim",
    )


add_commands(webhooks_app, COMMANDS["webhooks"])
