"""`refreshd db`: the schema."""

from __future__ import annotations

from typing import Annotated

import typer

from models.tables.audit import Act, Action
from worker.cli.terminal.console import out, print_json
from worker.cli.terminal.context import open_stores
from worker.db.migrate import upgrade
from worker.db.postgresql.password import password_of
from worker.db.repair.lost_commits import keep_lost_answers
from worker.db.repair.restore import believe_filled, raise_generations
from worker.redis.client import in_words
from worker.settings import load_settings

db_app = typer.Typer(no_args_is_help=True)


@db_app.callback()
def db() -> None:
    """Create and migrate the database's schema."""


@db_app.command("upgrade")
def upgrade_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Bring the database of REFRESHD_DATABASE_URL to this version's schema. Safe to run again, and while workers run."""
    settings = load_settings()
    before, after = upgrade(settings.database, password=password_of(settings))
    if as_json:
        print_json({"before": before, "after": after})
    elif before == after:
        out.print(f"The schema is at revision {after} already: nothing to do.")
    else:
        out.print(f"The schema is now at revision {after} (before: {before or 'none'}).")


@db_app.command("restored")
def restored(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run this after the database was restored from a backup, before workers start again.

    Keeps the answers that Redis has of commits which the database lost, and raises the other generations above what
    Redis has seen, so that nothing newer in Redis is overwritten and the next refresh of each account is published. Safe
    to run again.
    """
    with open_stores() as here:
        with in_words(here.settings.redis):
            kept = keep_lost_answers(here.engine, here.redis, here.keys)
            raised = raise_generations(here.engine, here.redis, here.keys)
            believe_filled(here.engine, here.redis, here.keys)
        here.audit.record(here.actor, Act(Action.DB_RESTORED, detail={"raised": raised, "kept": kept}))
    if as_json:
        print_json({"raised": raised, "kept": kept})
        return
    if kept:
        out.print(
            f"{kept:,} accounts were behind Redis, which had kept their last answers: the next refresh of each, due now, "
            "stores it again. Nothing of them is lost."
        )
    out.print(f"{raised:,} accounts were behind Redis; their generations are raised.")
    if raised:
        out.print(
            "Their readers keep the newer tokens that Redis holds. Where the provider rotates refresh tokens, the "
            "backup's are spent: expect these accounts to need a new login (`refreshd status`, status reauthorize)."
        )
