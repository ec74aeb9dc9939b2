"""`refreshd history`: every attempt of an account, every decision not to make one, and what people did to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from models.outcome import AttemptRow, Outcome
from worker.cli.records.audit import audit_line
from worker.cli.terminal.console import ago_or_in, err, out, print_json
from worker.cli.terminal.context import open_stores
from worker.db.accounts.nearest_ids import nearest_ids
from worker.db.accounts.rows import find_accounts
from worker.db.records.history import entry_json
from worker.errors import UnknownAccount

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.attempt import Attempt
    from models.tables.audit import Audit

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
    full: Annotated[
        bool,
        typer.Option("--full", help="Show all of each entry: worker, task, request, fingerprints, times."),
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """Each attempt shows who asked, why, the response and what follows. Tokens are shown by their fingerprints alone."""
    with open_stores() as here:
        found = find_accounts(here.engine, [account]).get(account)
        provider = None if found is None else found.provider
        entries = here.history.trail(here.audit, account, provider, limit=limit)
        if found is None and not entries:
            raise UnknownAccount(account, near=nearest_ids(here.engine, account))
        shown: dict[str, tuple[Any, ...]] = {}
        for entry in entries:
            shown[entry.id] = _state(entry)
            _show(entry, now=here.clock.now(), full=full, as_json=as_json)
        # As many as were asked for may leave out what is older.
        if len(entries) < limit and not any(isinstance(entry, AttemptRow) for entry in entries):
            err.print(
                "No refresh was tried yet; `refreshd explain` says why.",
                style="dim",
            )
        while follow:
            time.sleep(_FOLLOW_S)
            for entry in here.history.trail(here.audit, account, provider, limit=limit):
                if shown.get(entry.id) != _state(entry):
                    shown[entry.id] = _state(entry)
                    _show(entry, now=here.clock.now(), full=full, as_json=as_json)


def line_of(entry: Attempt, *, now: float) -> Text:
    """Return one entry as a line."""
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
        f"x{entry.repeats}, last {ago_or_in(entry.closed_at, now=now)}" if entry.repeats > 1 else "",
        f"next {ago_or_in(entry.next_refresh_at, now=now)}"
        if entry.next_refresh_at is not None and entry.next_refresh_at > now
        else "",
        f"lost scopes: {entry.scope_lost}" if entry.scope_lost else "",
        entry.error_description or "",
    ]
    return line.append("  " + ", ".join(fact for fact in facts if fact), style="dim")


def details(entry: Attempt) -> Iterator[tuple[str, str]]:
    """Return what a line has no room for: (name, words) each."""
    at = datetime.fromtimestamp(entry.opened_at, UTC).isoformat(timespec="milliseconds")
    sent = entry.refresh_fp
    received = "the same" if entry.received_fp and entry.received_fp == sent else entry.received_fp
    values = {
        "at": at,
        "worker": entry.worker,
        "task": entry.task_id,
        "attempt": entry.id,
        "request": entry.request,
        "refresh token used": sent,
        "refresh token received": received,
        "error": entry.error,
        "provider's request id": entry.provider_request_id,
        "lock wait": None if entry.lock_wait_ms is None else f"{entry.lock_wait_ms:.0f} ms",
        "config version": entry.config_version or None,
        "next refresh": None
        if entry.next_refresh_at is None
        else datetime.fromtimestamp(entry.next_refresh_at, UTC).isoformat(timespec="seconds"),
    }
    for name, value in values.items():
        if value not in (None, ""):
            yield name, str(value)


def _show(entry: Attempt | Audit, *, now: float, full: bool, as_json: bool) -> None:
    if as_json:
        print_json(entry_json(entry))
        return
    if not isinstance(entry, AttemptRow):
        out.print(audit_line(entry, now=now), soft_wrap=True)
        return
    out.print(line_of(entry, now=now), soft_wrap=True)
    for name, words in details(entry) if full else ():
        out.print(Text(f"    {name:<24}{words}", style="dim"), soft_wrap=True)
    if entry.output:
        out.print(Text("    " + entry.output.rstrip().replace("\n", "\n    "), style="dim"), soft_wrap=True)


def _state(entry: Attempt | Audit) -> tuple[Any, ...]:
    return (
        (entry.closed_at, entry.outcome, entry.repeats) if isinstance(entry, AttemptRow) else (entry.detail,)
    )
