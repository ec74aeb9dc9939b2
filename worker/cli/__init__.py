"""The `refreshd` command."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from worker.cli.commands import COMMANDS
from worker.cli.terminal.lazy import add_commands
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
    context: typer.Context,
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done, on stderr.")] = False,
) -> None:
    # Late: `--version`, `--help` and what is typed wrongly log nothing.
    from worker.log import log_late, log_no_later

    log_late("DEBUG" if verbose else "WARNING")
    context.call_on_close(log_no_later)


add_commands(app, COMMANDS[""])


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
