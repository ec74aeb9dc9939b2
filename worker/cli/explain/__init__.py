"""`refreshd explain`: one account, as a good colleague would explain it."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli.explain.text import page
from worker.cli.terminal.console import out, print_json
from worker.cli.terminal.context import open_stores
from worker.diagnostics.explain.gather import gather
from worker.diagnostics.explain.rules import diagnose
from worker.diagnostics.explain.words import as_object


def explain(
    account: Annotated[str, typer.Argument(help="The account's id.", metavar="ACCOUNT")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Reads the database, Redis and the running workers. Exits with 1 if something is wrong, or there is no good token."""
    with open_stores() as here:
        facts = gather(here, account)
    findings = diagnose(facts)
    if as_json:
        print_json(as_object(facts, findings))
    else:
        out.print(page(facts, findings), crop=False)
    if facts.lacks_token or any(finding.wrong for finding in findings):
        raise typer.Exit(1)
