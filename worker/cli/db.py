"""`refreshd db`: the schema."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli.output import out, print_json
from worker.io.database import upgrade
from worker.settings import load_settings

db_app = typer.Typer(help="Create and migrate the database's schema.", no_args_is_help=True)


@db_app.callback()
def db() -> None:
    """Create and migrate the database's schema."""


@db_app.command("upgrade")
def upgrade_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Bring the database of REFRESHD_DATABASE_URL to this version's schema. Safe to run again, and while workers run."""
    before, after = upgrade(load_settings().database)
    if as_json:
        print_json({"before": before, "after": after})
    elif before == after:
        out.print(f"The schema is at revision {after} already: nothing to do.")
    else:
        out.print(f"The schema is now at revision {after} (before: {before or 'none'}).")
