"""Refreshes that a command or the API asks for now: which accounts are due, the messages to the workers, and the outcome of each."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

from kombu.exceptions import OperationalError

from models.tables.account import Account, RefreshMethod, SessionManagement
from models.tables.attempt import Attempt, Outcome, Trigger
from refreshd_reader.contract import PAUSED
from worker.broker.queues import CALLBACK, URGENT
from worker.errors import RedisUnreachable
from worker.policy.reasons.skipped import NOT_DUE_YET, REFRESH_DISABLED, SESSION_NONE

#: The outcome of an account whose message is on its way and was not waited for.
QUEUED: Final = "queued"
#: Accounts in one message.
_GROUP: Final = 50


def not_now(account: Account, now: float, *, paused: bool) -> dict[str, Any] | None:
    """Return the line of an account that is not to be refreshed now, None for one that is."""
    if not account.refresh_enabled:
        return line(account.id, Outcome.DISABLED, REFRESH_DISABLED, account.generation)
    if paused:
        return line(account.id, Outcome.DISABLED, PAUSED, account.generation)
    if account.session_management == SessionManagement.NONE:
        return line(account.id, Outcome.NOT_DUE, SESSION_NONE, account.generation)
    if account.next_refresh_at is None or account.next_refresh_at > now:
        return line(account.id, Outcome.NOT_DUE, account.reason or NOT_DUE_YET, account.generation)
    return None


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
            f"the broker can't be reached: {str(error).rstrip('.')}. REFRESHD_REDIS_URL says where it is"
        ) from error
    return task_id


def line_of(attempt: Attempt) -> dict[str, Any]:
    """Return the outcome of a refresh."""
    generation = attempt.generation if attempt.generation_after is None else attempt.generation_after
    found = line(attempt.account_id, attempt.outcome or "", attempt.reason or "", generation)
    if attempt.error_description:
        found["detail"] = attempt.error_description
    return found


def line(account: str, outcome: str, reason: str, generation: int) -> dict[str, Any]:
    """Return the line of an account."""
    return {"account": account, "outcome": str(outcome), "reason": reason, "generation": generation}
