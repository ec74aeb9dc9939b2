"""Refreshes that a command asks of the workers: who forced them, and the attempts that answer them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from models.tables.account import Account
from models.tables.attempt import Attempt, Outcome
from models.tables.audit import Act, Action
from worker.broker.queues import STANDARD_WORKER, URGENT
from worker.celery.forced_refresh import send_forced
from worker.celery.inspect import alive_workers
from worker.cli.terminal.console import err
from worker.context import AppContext
from worker.errors import WaitTimedOut

#: Longer than the longest call, and a worker that restarts meanwhile.
WAIT_S: Final = 90.0
_POLL_S: Final = 0.05
_BUSY_S: Final = 0.5
#: Most refreshes have ended by then; a person who waits longer wonders what for.
NOTICE_S: Final = 5.0


def refresh_once(here: AppContext, account: Account, timeout_s: float = WAIT_S) -> Attempt:
    """Have the workers refresh one account, due or not, and return how it went.

    Raises:
        WaitTimedOut: no worker did it in time.
        RedisUnreachable: the message can't be sent.
    """
    record_forced(here, [account])
    until = time.monotonic() + timeout_s
    while (left_s := until - time.monotonic()) > 0:
        for attempt in outcomes(here, {account.id: account.generation}, send_forced([account]), left_s):
            if attempt.outcome != Outcome.BUSY:
                return attempt
            time.sleep(_BUSY_S)  # the plan was first: its refresh is the answer, or another try is
    raise not_in_time(1, 1, timeout_s)


def record_forced(here: AppContext, forced: Sequence[Account]) -> None:
    """Write into the audit trail who forces these refreshes."""
    here.audit.record(
        here.actor, *(Act(Action.REFRESH, a.id, a.provider, {"generation": a.generation}) for a in forced)
    )


def not_in_time(left: int, asked: int, timeout_s: float) -> WaitTimedOut:
    """Return the error of refreshes that no worker made in time."""
    return WaitTimedOut(
        f"{left} of {asked} not refreshed after {timeout_s:g} s: is a worker running? "
        "`refreshd status` shows the workers and the queues; one that refuses the message says `message_refused` in its log"
    )


def outcomes(
    here: AppContext, pending: dict[str, int], task_ids: Sequence[str], timeout_s: float
) -> list[Attempt]:
    """Wait for the attempts of these tasks; what is left in `pending` did not end in time.

    After some seconds stderr says what is waited for.
    """
    ended: list[Attempt] = []
    began = time.monotonic()
    until, notice_at = began + timeout_s, began + NOTICE_S
    while pending and time.monotonic() < until:
        for account_id, attempt in here.history.by_tasks(list(pending), task_ids).items():
            ended.append(attempt)
            del pending[account_id]
        if pending and time.monotonic() >= notice_at:
            notice_at = until
            err.plain(_waiting_for(timeout_s), style="yellow")
        if pending:
            time.sleep(_POLL_S)
    return ended


def _waiting_for(timeout_s: float) -> str:
    """Return what a person reads who waits: workers that are there may be busy, or there are none."""
    found = alive_workers()
    if found is None or any(URGENT in queues for queues in found.values()):
        return f"waiting for a worker, {timeout_s:g} s at most"
    return (
        f"no worker answers that takes from `{URGENT}`: waiting for one, {timeout_s:g} s at most. `refreshd up` runs one, "
        f"or start it in another terminal: `{STANDARD_WORKER}`"
    )
