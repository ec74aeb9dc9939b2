"""`refreshd refresh`: have accounts refreshed now, by the workers, and say how it went."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from celery import Celery
from kombu.exceptions import OperationalError
from rich.markup import escape
from sqlmodel import Session, col, select

from models.account import Account, RefreshMethod, SessionManagement
from models.attempt import Attempt, Outcome, Trigger
from models.audit import Act, Action
from models.pause import PAUSED
from worker.broker.queues import CALLBACK, URGENT
from worker.cli.terminal.console import err, out, print_json
from worker.cli.terminal.context import stores
from worker.context import AppContext
from worker.db.accounts import nearest_ids
from worker.db.engine import database_now, reading
from worker.errors import RedisUnreachable, UnknownAccount, WaitTimedOut
from worker.policy.reasons.skipped import NOT_DUE_YET, REFRESH_DISABLED, SESSION_NONE

#: What the command says of an account whose message is on its way and was not waited for.
QUEUED = "queued"
_POLL_S = 0.05
#: Longer than the longest call, and a worker that restarts meanwhile.
_WAIT_S = 90.0
_GROUP = 50
_FINE = frozenset({Outcome.REFRESHED, Outcome.NOT_DUE, QUEUED})
_STYLES = {Outcome.REFRESHED: "green", Outcome.NOT_DUE: "dim", QUEUED: "cyan"}


def refresh(
    accounts: Annotated[list[str], typer.Argument(help="Ids of accounts.", metavar="ACCOUNT...")],
    force: Annotated[
        bool, typer.Option("--force", help="Refresh even if not due, paused, disabled or session `none`.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for each outcome.")] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", help="Seconds that --wait waits.", min=1)
    ] = _WAIT_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """The workers refresh them, ahead of planned refreshes: a worker must be running. Prints a line per account."""
    here = stores()
    here.settings.redis  # noqa: B018  (where there is none, it is said here: a worker ends with another exit code)
    ids = list(dict.fromkeys(accounts))
    found, now = _load(here, ids)
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
        _record(here, sent)
    task_ids = _send(sent)
    pending = {a.id: a.generation for a in sent}
    if wait:
        for attempt in _outcomes(here, pending, task_ids, timeout_s):
            lines[attempt.account_id] = _line_of(attempt)
    lines |= {i: _line(i, QUEUED, "waiting for a worker", generation) for i, generation in pending.items()}
    for account_id in ids:
        _show(lines[account_id], as_json=as_json)
    if wait and pending:
        raise _timed_out(len(pending), len(ids), timeout_s)
    if any(line["outcome"] not in _FINE for line in lines.values()):
        raise typer.Exit(1)


def refresh_once(here: AppContext, account: Account, timeout_s: float = _WAIT_S) -> Attempt:
    """Have the workers refresh one account, due or not, and return how it went.

    Raises:
        WaitTimedOut: no worker did it in time.
        RedisUnreachable: the message can't be sent.
    """
    _record(here, [account])
    task_ids = _send([account])
    for attempt in _outcomes(here, {account.id: account.generation}, task_ids, timeout_s):
        return attempt
    raise _timed_out(1, 1, timeout_s)


def _record(here: AppContext, forced: Sequence[Account]) -> None:
    here.audit.record(
        here.actor, *(Act(Action.REFRESH, a.id, a.provider, {"generation": a.generation}) for a in forced)
    )


def _timed_out(left: int, asked: int, timeout_s: float) -> WaitTimedOut:
    return WaitTimedOut(
        f"{left} of {asked} not refreshed after {timeout_s:g} s: is a worker running? "
        "`refreshd status` shows the workers and the queues; one that refuses the message says `message_refused` in its log"
    )


def _load(here: AppContext, ids: Sequence[str]) -> tuple[list[Account], float]:
    with reading(here.engine) as connection, Session(connection, expire_on_commit=False) as session:
        found = {a.id: a for a in session.exec(select(Account).where(col(Account.id).in_(ids)))}
        now = database_now(connection)
    for account_id in ids:
        if account_id not in found:
            raise UnknownAccount(account_id, near=nearest_ids(here.engine, account_id))
    return [found[account_id] for account_id in ids], now


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


def _send(accounts: Sequence[Account]) -> list[str]:
    from worker.app import app

    plain = [(a.id, a.generation) for a in accounts if a.refresh_method != RefreshMethod.CALLBACK]
    groups = [(plain[i : i + _GROUP], URGENT) for i in range(0, len(plain), _GROUP)]
    groups += [
        ([(a.id, a.generation)], CALLBACK) for a in accounts if a.refresh_method == RefreshMethod.CALLBACK
    ]
    try:
        return [_send_one(app, pairs, queue) for pairs, queue in groups]
    except OperationalError as error:
        raise RedisUnreachable(
            f"the broker can't be reached: {error}. REFRESHD_REDIS_URL says where it is"
        ) from error


def _send_one(app: Celery, pairs: Sequence[tuple[str, int]], queue: str) -> str:
    task_id = str(uuid.uuid4())
    app.send_task(
        "refreshd.refresh",
        kwargs={"accounts": [list(pair) for pair in pairs], "reason": Trigger.FORCED.value},
        queue=queue,
        task_id=task_id,
        retry=False,
    )
    return task_id


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
