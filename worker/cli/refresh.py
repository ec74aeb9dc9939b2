"""`refreshd refresh`: have accounts refreshed now, by the workers, and say how it went."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape
from sqlmodel import Session, col, select

from models.account import Account
from models.attempt import Attempt, Outcome
from models.audit import Act, Action
from worker.celery.forced_refresh import QUEUED, line, line_of, not_now, send_forced
from worker.cli.terminal.console import err, out, print_json
from worker.cli.terminal.context import stores
from worker.context import AppContext
from worker.db.engine import database_now, reading
from worker.db.nearest_ids import nearest_ids
from worker.errors import UnknownAccount, WaitTimedOut

_POLL_S = 0.05
_FINE = frozenset({Outcome.REFRESHED, Outcome.NOT_DUE, QUEUED})
_STYLES = {Outcome.REFRESHED: "green", Outcome.NOT_DUE: "dim", QUEUED: "cyan"}


def refresh(
    accounts: Annotated[list[str], typer.Argument(help="Ids of accounts.", metavar="ACCOUNT...")],
    force: Annotated[
        bool, typer.Option("--force", help="Refresh even if not due, paused, disabled or session `none`.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for each outcome.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds that --wait waits.", min=1)] = 90,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """The workers refresh them, ahead of planned refreshes: a worker must be running. Prints a line per account."""
    here = stores()
    here.settings.broker  # noqa: B018  (where there is none, it is said here: a worker ends with another exit code)
    ids = list(dict.fromkeys(accounts))
    loaded, now = _load(here, ids)
    held = (
        {a.id for a in loaded if here.pauses.of(a.id, a.provider)}
        if here.pauses.standing().anything
        else set()
    )
    lines = {a.id: found for a in loaded if not force and (found := not_now(a, now, paused=a.id in held))}
    if force:
        for account_id in ids:
            if account_id in held:
                err.print(
                    f"{account_id} is paused, and stays so: this refreshes it once",
                    style="yellow",
                    markup=False,
                    soft_wrap=True,
                )
    sent = [a for a in loaded if a.id not in lines]
    if force:
        forced = [Act(Action.REFRESH, a.id, a.provider, {"generation": a.generation}) for a in sent]
        here.audit.record(here.actor, *forced)
    task_ids = send_forced(sent)
    pending = {a.id: a.generation for a in sent}
    if wait:
        for attempt in _outcomes(here, pending, task_ids, timeout_s):
            lines[attempt.account_id] = line_of(attempt)
    lines |= {i: line(i, QUEUED, "waiting for a worker", generation) for i, generation in pending.items()}
    for account_id in ids:
        _show(lines[account_id], as_json=as_json)
    if wait and pending:
        raise WaitTimedOut(
            f"{len(pending)} of {len(ids)} not refreshed after {timeout_s:g} s: is a worker running? "
            "`refreshd status` shows the workers and the queues; one that refuses the message says `message_refused` in its log"
        )
    if any(one["outcome"] not in _FINE for one in lines.values()):
        raise typer.Exit(1)


def _load(here: AppContext, ids: Sequence[str]) -> tuple[list[Account], float]:
    with reading(here.engine) as connection, Session(connection, expire_on_commit=False) as session:
        found = {a.id: a for a in session.exec(select(Account).where(col(Account.id).in_(ids)))}
        now = database_now(connection)
    for account_id in ids:
        if account_id not in found:
            raise UnknownAccount(account_id, near=nearest_ids(here.engine, account_id))
    return [found[account_id] for account_id in ids], now


def _outcomes(
    here: AppContext, pending: dict[str, int], task_ids: Sequence[str], timeout_s: float
) -> list[Attempt]:
    """Wait for the attempts of these tasks; what is left in `pending` did not end in time."""
    ended: list[Attempt] = []
    until = time.monotonic() + timeout_s
    while pending and time.monotonic() < until:
        for account_id, attempt in here.history.by_tasks(list(pending), task_ids).items():
            ended.append(attempt)
            del pending[account_id]
        if pending:
            time.sleep(_POLL_S)
    return ended


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
        err.print(f"  {shown['detail']}", style="dim", markup=False, soft_wrap=True)
