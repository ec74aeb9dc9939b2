"""`refreshd refresh`: have accounts refreshed now, by the workers, and say how it went."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from models.tables.account import Status
from models.tables.attempt import Outcome
from worker.celery.forced_refresh import QUEUED, line, line_of, not_now, send_forced
from worker.cli.refresh.many import refresh_many
from worker.cli.refresh.requests import WAIT_S, not_in_time, outcomes, record_forced
from worker.cli.terminal.console import err, out, print_json
from worker.cli.terminal.context import accounts_of, open_stores
from worker.cli.terminal.labels import Labels, labels_of
from worker.context import AppContext
from worker.db.accounts.filter import EVERY_ACCOUNT, Filter
from worker.errors import UsageError

_FINE = frozenset({Outcome.REFRESHED, Outcome.NOT_DUE, QUEUED})
_STYLES = {Outcome.REFRESHED: "green", Outcome.NOT_DUE: "dim", QUEUED: "cyan"}


def refresh(
    accounts: Annotated[
        list[str] | None, typer.Argument(help="Ids of accounts.", metavar="[ACCOUNT...]")
    ] = None,
    provider: Annotated[str | None, typer.Option(help="All accounts of this provider, with --force.")] = None,
    status: Annotated[Status | None, typer.Option(help="All accounts in this status, with --force.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="All accounts that fail for this reason, with --force.")
    ] = None,
    label: Labels = None,
    force: Annotated[
        bool, typer.Option("--force", help="Refresh even if not due, paused, disabled or session `none`.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for each outcome.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds that --wait waits.", min=1)] = WAIT_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """The workers refresh named accounts ahead of planned refreshes: a worker must be running. Prints a line per account.

    With --provider, --status, --reason or --label instead of ids, all accounts that are like that are due now: plans
    refresh them at their provider's rate, and pauses and gates hold.
    """
    wanted = Filter(status.value if status else None, provider, labels=labels_of(label), reason=reason)
    if accounts and wanted != EVERY_ACCOUNT:
        raise UsageError(
            "name accounts, or say which with --provider, --status, --reason or --label: not both"
        )
    if not accounts and wanted == EVERY_ACCOUNT:
        raise UsageError("name accounts, or say which with --provider, --status, --reason or --label")
    if accounts:
        with open_stores() as here:
            _refresh(here, accounts, force=force, timeout_s=timeout_s if wait else None, as_json=as_json)
        return
    with open_stores() as here:
        refresh_many(here, wanted, force=force, wait=wait, as_json=as_json)


def _refresh(
    here: AppContext, accounts: list[str], *, force: bool, timeout_s: float | None, as_json: bool
) -> None:
    """Have named accounts refreshed; wait for their outcomes for so many seconds, or not at all."""
    here.settings.broker  # noqa: B018  (where there is none, it is said here: a worker ends with another exit code)
    ids = list(dict.fromkeys(accounts))
    loaded = accounts_of(here, ids)
    now = here.clock.now()
    held = (
        {a.id for a in loaded if here.pauses.of(a.id, a.provider)}
        if here.pauses.standing().anything
        else set()
    )
    lines = {a.id: found for a in loaded if not force and (found := not_now(a, now, paused=a.id in held))}
    if force:
        for account_id in ids:
            if account_id in held:
                err.plain(f"{account_id} is paused, and stays so: this refreshes it once", style="yellow")
    sent = [a for a in loaded if a.id not in lines]
    if force:
        record_forced(here, sent)
    task_ids = send_forced(sent)
    pending = {a.id: a.generation for a in sent}
    if timeout_s is not None:
        for attempt in outcomes(here, pending, task_ids, timeout_s):
            lines[attempt.account_id] = line_of(attempt)
    lines |= {i: line(i, QUEUED, "waiting for a worker", generation) for i, generation in pending.items()}
    for account_id in ids:
        _show(lines[account_id], as_json=as_json)
    if timeout_s is not None and pending:
        raise not_in_time(len(pending), len(ids), timeout_s)
    if any(one["outcome"] not in _FINE for one in lines.values()):
        raise typer.Exit(1)


def _show(shown: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json({name: shown[name] for name in ("account", "outcome", "reason", "generation")})
        return
    style = _STYLES.get(shown["outcome"], "red")
    reason = f"  {escape(shown['reason'])}" if shown["reason"] != shown["outcome"] else ""
    out.print(
        f"{escape(shown['account'])}  [{style}]{shown['outcome']}[/{style}]{reason}  generation {shown['generation']}",
        soft_wrap=True,
    )
    if "detail" in shown:
        err.plain(f"  {shown['detail']}", style="dim")
