"""Refreshes that a command asks of the workers: its messages, and the attempts that answer them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Final

from kombu.exceptions import OperationalError

from models.account import Account, RefreshMethod
from models.attempt import Attempt, Trigger
from models.audit import Act, Action
from worker.broker.queues import CALLBACK, URGENT
from worker.context import AppContext
from worker.errors import RedisUnreachable, WaitTimedOut

#: Longer than the longest call, and a worker that restarts meanwhile.
WAIT_S: Final = 90.0
_POLL_S: Final = 0.05
#: Accounts in one message.
_GROUP: Final = 50


def refresh_once(here: AppContext, account: Account, timeout_s: float = WAIT_S) -> Attempt:
    """Have the workers refresh one account, due or not, and return how it went.

    Raises:
        WaitTimedOut: no worker did it in time.
        RedisUnreachable: the message can't be sent.
    """
    record_forced(here, [account])
    task_ids = send_forced([account])
    for attempt in outcomes(here, {account.id: account.generation}, task_ids, timeout_s):
        return attempt
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


def send_forced(accounts: Sequence[Account]) -> list[str]:
    """Send forced refreshes to the workers, and return the ids of the tasks.

    Raises:
        RedisUnreachable: the broker can't be reached.
    """
    plain = [(a.id, a.generation) for a in accounts if a.refresh_method != RefreshMethod.CALLBACK]
    groups = [(plain[i : i + _GROUP], URGENT) for i in range(0, len(plain), _GROUP)]
    groups += [
        ([(a.id, a.generation)], CALLBACK) for a in accounts if a.refresh_method == RefreshMethod.CALLBACK
    ]
    return [send(pairs, queue, Trigger.FORCED) for pairs, queue in groups]


def send(
    pairs: Sequence[tuple[str, int]], queue: str, trigger: Trigger, *, expires_s: float | None = None
) -> str:
    """Send one refresh to the workers, and return the task's id.

    Args:
        pairs: accounts, and the generation of each that is to be replaced.
        queue: of the workers.
        trigger: why it is sent.
        expires_s: no worker begins it later; None: whenever one comes.

    Raises:
        RedisUnreachable: the broker can't be reached.
    """
    from worker.app import app

    task_id = str(uuid.uuid4())
    try:
        app.send_task(
            "refreshd.refresh",
            kwargs={"accounts": [list(pair) for pair in pairs], "reason": trigger.value},
            queue=queue,
            task_id=task_id,
            expires=expires_s,
            retry=False,
        )
    except OperationalError as error:
        raise RedisUnreachable(
            f"the broker can't be reached: {error}. REFRESHD_REDIS_URL says where it is"
        ) from error
    return task_id


def outcomes(
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
