"""`refreshd refresh`: have accounts refreshed now, by the workers, and say how it went."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from models.account import Account, SessionManagement
from models.attempt import Attempt, Outcome
from models.pause import PAUSED
from worker.cli.requests import WAIT_S, not_in_time, outcomes, record_forced, send_forced
from worker.cli.terminal.console import err, out, print_json
from worker.cli.terminal.context import accounts_of, stores
from worker.policy.reasons.skipped import NOT_DUE_YET, REFRESH_DISABLED, SESSION_NONE

#: What the command says of an account whose message is on its way and was not waited for.
QUEUED = "queued"
_FINE = frozenset({Outcome.REFRESHED, Outcome.NOT_DUE, QUEUED})
_STYLES = {Outcome.REFRESHED: "green", Outcome.NOT_DUE: "dim", QUEUED: "cyan"}


def refresh(
    accounts: Annotated[list[str], typer.Argument(help="Ids of accounts.", metavar="ACCOUNT...")],
    force: Annotated[
        bool, typer.Option("--force", help="Refresh even if not due, paused, disabled or session `none`.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for each outcome.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds that --wait waits.", min=1)] = WAIT_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """The workers refresh them, ahead of planned refreshes: a worker must be running. Prints a line per account."""
    here = stores()
    here.settings.redis  # noqa: B018  (where there is none, it is said here: a worker ends with another exit code)
    ids = list(dict.fromkeys(accounts))
    found = accounts_of(here, ids)
    now = here.clock.now()
    held = (
        {a.id for a in found if here.pauses.of(a.id, a.provider)}
        if here.pauses.standing().anything
        else set()
    )
    lines = {a.id: line for a in found if not force and (line := _not_now(a, now, paused=a.id in held))}
    if force:
        for account_id in ids:
            if account_id in held:
                err.plain(f"{account_id} is paused, and stays so: this refreshes it once", style="yellow")
    sent = [a for a in found if a.id not in lines]
    if force:
        record_forced(here, sent)
    task_ids = send_forced(sent)
    pending = {a.id: a.generation for a in sent}
    if wait:
        for attempt in outcomes(here, pending, task_ids, timeout_s):
            lines[attempt.account_id] = _line_of(attempt)
    lines |= {i: _line(i, QUEUED, "waiting for a worker", generation) for i, generation in pending.items()}
    for account_id in ids:
        _show(lines[account_id], as_json=as_json)
    if wait and pending:
        raise not_in_time(len(pending), len(ids), timeout_s)
    if any(line["outcome"] not in _FINE for line in lines.values()):
        raise typer.Exit(1)


def _not_now(account: Account, now: float, *, paused: bool) -> dict[str, Any] | None:
    if not account.refresh_enabled:
        return _line(account.id, Outcome.DISABLED, REFRESH_DISABLED, account.generation)
    if paused:
        return _line(account.id, Outcome.DISABLED, PAUSED, account.generation)
    if account.session_management == SessionManagement.NONE:
        return _line(account.id, Outcome.NOT_DUE, SESSION_NONE, account.generation)
    if account.next_refresh_at is None or account.next_refresh_at > now:
        return _line(account.id, Outcome.NOT_DUE, account.reason or NOT_DUE_YET, account.generation)
    return None


def _line_of(attempt: Attempt) -> dict[str, Any]:
    generation = attempt.generation if attempt.generation_after is None else attempt.generation_after
    line = _line(attempt.account_id, attempt.outcome or "", attempt.reason or "", generation)
    if attempt.error_description:
        line["detail"] = attempt.error_description
    return line


def _line(account: str, outcome: str, reason: str, generation: int) -> dict[str, Any]:
    return {"account": account, "outcome": str(outcome), "reason": reason, "generation": generation}


def _show(line: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json({name: line[name] for name in ("account", "outcome", "reason", "generation")})
        return
    style = _STYLES.get(line["outcome"], "red")
    reason = f"  {escape(line['reason'])}" if line["reason"] != line["outcome"] else ""
    out.print(
        f"{escape(line['account'])}  [{style}]{line['outcome']}[/{style}]{reason}  generation {line['generation']}",
        soft_wrap=True,
    )
    if "detail" in line:
        err.plain(f"  {line['detail']}", style="dim")
