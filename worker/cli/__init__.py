"""The `refreshd` command."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from worker.cli.accounts import accounts_app
from worker.cli.audit import audit
from worker.cli.callbacks import callbacks_app
from worker.cli.db import db_app
from worker.cli.demo import demo
from worker.cli.doctor import doctor
from worker.cli.explain import explain
from worker.cli.exporter import exporter
from worker.cli.history import history
from worker.cli.interrupts import INTERRUPTED
from worker.cli.keys import keys_app
from worker.cli.pause import pause, resume
from worker.cli.pipes import PipedGroup
from worker.cli.providers import providers_app
from worker.cli.refresh import refresh
from worker.cli.status import status
from worker.cli.token import token
from worker.cli.up import up
from worker.cli.webhooks import webhooks_app
from worker.errors import RefreshdError
from worker.events import configure_logging

_EPILOG = (
    "Exit codes: 0 ok; 1 done, with failures; 2 usage; 3 unknown account; 4 database or Redis unreachable; "
    "5 --wait timed out; 130 Ctrl-C."
)

app = typer.Typer(
    name="refreshd",
    cls=PipedGroup,
    help="Keeps OAuth 2.0 access tokens fresh for many accounts, in the background, without losing a grant.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"refreshd {version('refreshd')}")
        raise typer.Exit


@app.callback()
def common(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done, on stderr.")] = False,
) -> None:
    configure_logging("DEBUG" if verbose else "WARNING")


app.command(rich_help_panel="Run")(up)
app.command(rich_help_panel="Run")(demo)
app.command(rich_help_panel="Run")(exporter)
app.add_typer(db_app, name="db", rich_help_panel="Run")
app.add_typer(keys_app, name="keys", rich_help_panel="Run")
app.add_typer(accounts_app, name="accounts", rich_help_panel="Accounts")
app.add_typer(providers_app, name="providers", rich_help_panel="Accounts")
app.add_typer(callbacks_app, name="callbacks", rich_help_panel="Accounts")
app.command(rich_help_panel="Tokens")(token)
app.command(rich_help_panel="Tokens")(refresh)
app.command(rich_help_panel="Tokens")(pause)
app.command(rich_help_panel="Tokens")(resume)
app.command(rich_help_panel="Answers")(explain)
app.command(rich_help_panel="Answers")(history)
app.command(rich_help_panel="Answers")(audit)
app.command(rich_help_panel="Answers")(status)
app.command(rich_help_panel="Answers")(doctor)
app.add_typer(webhooks_app, name="webhooks", rich_help_panel="Answers")


def main() -> Any:
    """Run a command; what goes wrong is said in a line, never in a traceback."""
    try:
        return app()
    except RefreshdError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"error: {line}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
