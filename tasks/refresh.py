"""`refreshd.refresh`: refresh a group of accounts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from celery import Task

from models.attempt import Outcome, Trigger
from refreshd_reader.contract import ACCOUNT_ID
from worker.app import app
from worker.bootsteps import dispatch_with
from worker.events import log
from worker.metrics import worker_metrics
from worker.plan import Dispatch, Undeliverable
from worker.refresh import METHOD_NOT_RUN_HERE, Result
from worker.runtime import runtime

#: A message never holds more accounts; one that does is not ours.
ACCOUNTS_MAX: Final = 1_000
#: Up to this many accounts, each one's outcome is in the result; beyond, only failures are.
LISTED_MAX: Final = 10

_QUIET: Final = frozenset({Outcome.REFRESHED, Outcome.SUPERSEDED, Outcome.NOT_DUE})


class MalformedMessage(ValueError):
    """A refresh message that none of ours can be."""


@app.task(name="refreshd.refresh", bind=True)
def refresh(
    self: Task[Any, Any], accounts: list[list[Any]], reason: str = Trigger.PLANNED.value
) -> dict[str, Any]:
    """Refresh accounts, each at the generation that the sender saw: `[[id, generation], ...]`."""
    try:
        pairs, trigger = _checked(accounts, reason)
    except MalformedMessage as error:
        log.error("malformed_message", task_id=self.request.id, error=str(error))
        raise
    here = runtime()
    results = here.run(
        here.refresher.refresh(
            pairs,
            trigger=trigger,
            worker=str(self.request.hostname or here.worker),
            task_id=str(self.request.id or ""),
        )
    )
    worker_metrics().results(Counter((one.outcome, one.reason) for one in results.values()), trigger)
    pass_on(results, trigger, dispatch_with(app))
    return summary(results)


def pass_on(results: Mapping[str, Result], trigger: Trigger, dispatch: Dispatch) -> None:
    """Send the accounts that only callback workers refresh to them, one a message."""
    for account, result in results.items():
        if result.reason == METHOD_NOT_RUN_HERE:
            try:
                dispatch([(account, result.generation)], trigger=trigger, callback=True)
            except Undeliverable as error:
                log.warning("not_passed_on", account=account, error=str(error))


def summary(results: Mapping[str, Result]) -> dict[str, Any]:
    """Give what Flower shows: how many of each outcome, and which accounts (failures only, where many)."""
    counts: dict[str, Any] = dict(Counter(result.outcome.value for result in results.values()))
    counts["accounts"] = {
        account: {"outcome": result.outcome.value, "reason": result.reason, "generation": result.generation}
        for account, result in results.items()
        if len(results) <= LISTED_MAX or result.outcome not in _QUIET
    }
    return counts


def _checked(accounts: object, reason: object) -> tuple[list[tuple[str, int]], Trigger]:
    if not isinstance(accounts, list) or not 1 <= len(accounts) <= ACCOUNTS_MAX:
        raise MalformedMessage(f"accounts: want a list of 1 to {ACCOUNTS_MAX} [id, generation]")
    if reason not in set(Trigger):
        raise MalformedMessage(f"reason: want one of {', '.join(Trigger)}")
    return [_pair(one) for one in accounts], Trigger(str(reason))


def _pair(one: object) -> tuple[str, int]:
    match one:
        case [str(account), int(generation)] if (
            re.fullmatch(ACCOUNT_ID, account) and not isinstance(generation, bool) and 0 <= generation < 2**53
        ):
            return account, generation
    raise MalformedMessage("accounts: an entry is no [id, generation]")
