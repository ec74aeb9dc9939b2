"""`refreshd webhooks`: a secret to sign with, and what was sent."""

from __future__ import annotations

import base64
import secrets

import typer

from worker.cli.terminal.console import err, out
from worker.cli.terminal.lazy import add_lazy_command

webhooks_app = typer.Typer(
    help="Webhooks: signed messages of what a person should know (REFRESHD_WEBHOOK_URL; docs/events.md).",
    no_args_is_help=True,
)
#: Bytes of a new secret; Standard Webhooks wants 24 to 64.
_SECRET_BYTES = 32


@webhooks_app.command("secret")
def secret() -> None:
    """Make a new signing secret, ready for REFRESHD_WEBHOOK_SECRET. It is printed once and kept nowhere."""
    key = base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    out.print(f"whsec_{key}", markup=False, soft_wrap=True)
    err.print(
        "Set it for every worker and for the receiver. To replace an old one: REFRESHD_WEBHOOK_SECRET=NEW,OLD signs with both\n"
        "until the receiver has the new one.",
        style="dim",
    )


add_lazy_command(
    webhooks_app,
    "test",
    "worker.cli.webhooks.messages:send_test",
    "Send a signed message of type `test` to every webhook now, and show what came back.",
)
add_lazy_command(
    webhooks_app,
    "list",
    "worker.cli.webhooks.messages:list_webhooks",
    "Show each webhook's backlog, and the messages that wait or are dead-lettered, newest first.",
)
add_lazy_command(
    webhooks_app,
    "retry",
    "worker.cli.webhooks.messages:retry",
    "Send dead-lettered messages again, under the same ids. The workers do it, within seconds.",
)
