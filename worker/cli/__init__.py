"""The `refreshd` command."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from worker.cli.terminal.lazy import add_lazy_command
from worker.cli.terminal.pipes import PipedGroup
from worker.cli.terminal.signals import INTERRUPTED
from worker.errors import RefreshdError

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
    from worker.log import configure_logging  # `--version`, `--help` and what is typed wrongly log nothing

    configure_logging("DEBUG" if verbose else "WARNING")


add_lazy_command(
    app,
    "up",
    "worker.cli.run.up:up",
    "Run everything on this machine, on your own accounts, until Ctrl-C.",
    panel="Run",
)
add_lazy_command(
    app,
    "demo",
    "worker.cli.run.demo:demo",
    "See it work: tokens being refreshed, live, against a local OAuth provider, until Ctrl-C.",
    panel="Run",
)
add_lazy_command(
    app,
    "exporter",
    "worker.cli.run.exporter:exporter",
    "Serve the fleet's metrics for Prometheus, from SQL, Redis and the workers, until Ctrl-C.",
    panel="Run",
)
add_lazy_command(
    app,
    "token",
    "worker.cli.token:token",
    "Show an account's access token: masked, unless [b]--reveal[/b]. Read from the database, not from Redis.",
    panel="Tokens",
)
add_lazy_command(
    app,
    "refresh",
    "worker.cli.refresh:refresh",
    "Have accounts refreshed now. Without [b]--force[/b], only those that are due.",
    panel="Tokens",
)
add_lazy_command(
    app,
    "pause",
    "worker.cli.pause:pause",
    "Pause planned refreshes of accounts, of a provider or of everything. Without any of them: show what is paused.",
    panel="Tokens",
)
add_lazy_command(
    app,
    "resume",
    "worker.cli.pause:resume",
    "End pauses: accounts that are due meanwhile are refreshed soonest first, at the rate that their provider takes.",
    panel="Tokens",
)
add_lazy_command(
    app,
    "explain",
    "worker.cli.explain:explain",
    "Explain an account: is its token good, when is it refreshed and why then, what is wrong and what to do.",
    panel="Answers",
)
add_lazy_command(
    app,
    "history",
    "worker.cli.history:history",
    "Show an account's history, oldest first: each attempt, each decision not to make one, and what people did.",
    panel="Answers",
)
add_lazy_command(
    app,
    "audit",
    "worker.cli.audit:audit",
    "Show what people did, oldest first: who, when, what, on which account or provider.",
    panel="Answers",
)
add_lazy_command(
    app,
    "status",
    "worker.cli.status:status",
    "Show the fleet: accounts by provider and status, what is overdue and failing, queues and workers.",
    panel="Answers",
)
add_lazy_command(
    app,
    "doctor",
    "worker.cli.doctor:doctor",
    "Check the installation: versions, settings, database, Redis, clocks, keys, beat, workers, callbacks.",
    panel="Answers",
)
add_lazy_command(app, "db", "worker.cli.db:db_app", "Create and migrate the database's schema.", panel="Run")
add_lazy_command(
    app,
    "keys",
    "worker.cli.keys:keys_app",
    "The keys that seal secrets at rest (REFRESHD_KEYS; the first one writes).",
    panel="Run",
)
add_lazy_command(
    app,
    "accounts",
    "worker.cli.accounts:accounts_app",
    "Import, add, authorize, show, edit and remove accounts. docs/accounts.md describes every field.",
    panel="Accounts",
)
add_lazy_command(
    app,
    "providers",
    "worker.cli.providers:providers_app",
    "Show what is known of providers, and check your own.",
    panel="Accounts",
)
add_lazy_command(
    app,
    "callbacks",
    "worker.cli.callbacks:callbacks_app",
    "Show the refresh callbacks, begin a new one, and run one as in production.",
    panel="Accounts",
)
add_lazy_command(
    app,
    "webhooks",
    "worker.cli.webhooks:webhooks_app",
    "Webhooks: signed messages of what a person should know (REFRESHD_WEBHOOK_URL; docs/events.md).",
    panel="Answers",
)


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
