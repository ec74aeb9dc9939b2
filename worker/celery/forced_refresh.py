"""Refreshes that somebody asks for now: which ones can be, the messages that ask workers, and what became of each."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from kombu.exceptions import OperationalError

from models.account import Account, RefreshMethod, SessionManagement
from models.attempt import Attempt, Outcome, Trigger
from models.pause import PAUSED
from worker.broker.queues import CALLBACK, URGENT
from worker.errors import RedisUnreachable
from worker.policy.reasons.skipped import NOT_DUE_YET, REFRESH_DISABLED, SESSION_NONE

if TYPE_CHECKING:
    from celery import Celery

#: The outcome of an account whose message is on its way and was not waited for.
QUEUED: Final = "queued"
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
    """Ask workers to refresh accounts; returns the ids of the tasks.

    Raises:
        RedisUnreachable: the broker does not take them.
    """
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


def line_of(attempt: Attempt) -> dict[str, Any]:
    """Return what became of a refresh."""
    generation = attempt.generation if attempt.generation_after is None else attempt.generation_after
    found = line(attempt.account_id, attempt.outcome or "", attempt.reason or "", generation)
    if attempt.error_description:
        found["detail"] = attempt.error_description
    return found


def line(account: str, outcome: str, reason: str, generation: int) -> dict[str, Any]:
    """Return the line of an account."""
    return {"account": account, "outcome": str(outcome), "reason": reason, "generation": generation}
