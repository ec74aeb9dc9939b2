"""`refreshd history`: every attempt of an account, and every decision not to make one."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.text import Text
from sqlmodel import Session

from models.account import Account
from models.attempt import Attempt, Outcome
from worker.cli.output import ago_or_in, err, out, print_json, stores
from worker.errors import UnknownAccount
from worker.io.database import database_now, reading

_STYLES: dict[str | None, str] = {
    Outcome.REFRESHED: "green",
    Outcome.RETRY: "yellow",
    Outcome.RATE_LIMITED: "yellow",
    Outcome.REAUTHORIZE: "red",
    Outcome.MISCONFIGURED: "red",
}
_FOLLOW_S = 1.0


def history(
    account: Annotated[str, typer.Argument(help="The account's id.", metavar="ACCOUNT")],
    limit: Annotated[int, typer.Option("--limit", "-n", help="Entries to show.", min=1, max=10_000)] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """Show an account's execution history, oldest first: who, when, why, what came back, what follows."""
    here = stores()
    with reading(here.engine) as connection, Session(connection) as session:
        known = session.get(Account, account) is not None
        now = database_now(connection)
    entries = here.history.of(account, limit=limit)
    if not known and not entries:
        raise UnknownAccount(account)
    shown: dict[str, tuple[Any, ...]] = {}
    for entry in reversed(entries):
        shown[entry.id] = _state(entry)
        _show(entry, now=now, as_json=as_json)
    if not entries:
        err.print(
            "Nothing yet: no refresh was tried, and nobody asked. `refreshd explain` says why.", style="dim"
        )
    while follow:
        time.sleep(_FOLLOW_S)
        for entry in reversed(here.history.of(account, limit=limit)):
            if shown.get(entry.id) != _state(entry):
                shown[entry.id] = _state(entry)
                _show(entry, now=here.clock.now(), as_json=as_json)


def line_of(entry: Attempt, *, now: float) -> Text:
    """Give one entry as a line."""
    outcome = entry.outcome or "under way"
    reason = entry.reason if entry.reason and entry.reason != outcome else ""
    line = Text.assemble(
        (f"{ago_or_in(entry.opened_at, now=now):>11}  ", "dim"),
        f"{entry.trigger:<8}  ",
        (f"{outcome:<13}", _STYLES.get(entry.outcome, "")),
        f"  {reason}" if reason else "",
    )
    facts = [
        f"HTTP {entry.http_status}" if entry.http_status else "",
        f"{entry.latency_ms:.0f} ms" if entry.latency_ms else "",
        f"generation {entry.generation} to {entry.generation_after}" if entry.generation_after else "",
        f"x{entry.repeats}" if entry.repeats > 1 else "",
        f"lost scopes: {entry.scope_lost}" if entry.scope_lost else "",
        entry.error_description or "",
    ]
    return line.append("  " + ", ".join(fact for fact in facts if fact), style="dim")


def _show(entry: Attempt, *, now: float, as_json: bool) -> None:
    if as_json:
        print_json(entry.model_dump())
    else:
        out.print(line_of(entry, now=now), soft_wrap=True)
        if entry.output:
            out.print(
                Text("    " + entry.output.rstrip().replace("\n", "\n    "), style="dim"), soft_wrap=True
            )


def _state(entry: Attempt) -> tuple[Any, ...]:
    return entry.closed_at, entry.outcome, entry.repeats
