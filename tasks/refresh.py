"""`refreshd.refresh`: refresh a group of accounts."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from celery import Task

from models.rate_limit import HELD
from models.tables.attempt import Outcome, Trigger
from refreshd_reader.contract import ACCOUNT_ID
from tasks._request import TaskRequest, Unfinished, failed, retried
from worker.app import app
from worker.celery.dispatch import dispatch_with
from worker.errors import Unreachable
from worker.log import log
from worker.monitoring.metrics import worker_metrics
from worker.policy.backlog import ACCOUNTS_MAX
from worker.policy.reasons.correction import STASH_UNREADABLE
from worker.policy.reasons.skipped import METHOD_NOT_RUN_HERE
from worker.policy.reasons.waiting import DATABASE_UNREACHABLE
from worker.refresh.attempt import Origin, Result
from worker.runtime import runtime
from worker.scheduling.planner import Dispatch, Undeliverable

#: Up to this many accounts, each one's outcome is in the result; beyond, only failures are.
LISTED_MAX: Final = 10

#: So many accounts are named in the sentence about a group.
NAMED_MAX: Final = 3

_QUIET: Final = frozenset({Outcome.REFRESHED, Outcome.SUPERSEDED, Outcome.NOT_DUE})
_FAILED: Final = frozenset({Outcome.REAUTHORIZE, Outcome.MISCONFIGURED})
_RETRIED: Final = frozenset({Outcome.RETRY, Outcome.RATE_LIMITED, Outcome.NOT_SENT})


class MalformedMessage(ValueError):
    """A refresh message that none of ours can be."""


@app.task(name="refreshd.refresh", bind=True, Request=TaskRequest, throws=(Unfinished, MalformedMessage))
def refresh(
    self: Task[Any, Any], accounts: list[list[Any]], reason: str = Trigger.PLANNED.value
) -> dict[str, Any]:
    """Refresh accounts, each at the generation that the sender saw: `[[id, generation], ...]`.

    Fails where an account needs a person, is a retry where one is tried again, and has the same result in each case.
    """
    began = time.monotonic()
    try:
        pairs, trigger = _checked(accounts, reason)
    except MalformedMessage as error:
        log.error("malformed_message", task_id=self.request.id, error=str(error))
        raise
    try:
        here = runtime()
    except Unreachable as error:
        log.error("not_refreshed", accounts=len(pairs), error=str(error))
        results = {i: Result(Outcome.NOT_SENT, DATABASE_UNREACHABLE, generation) for i, generation in pairs}
    else:
        worker = str(self.request.hostname or here.worker)
        origin = Origin(trigger, worker, task_id=str(self.request.id or ""))
        results = here.run(here.refresher.refresh(pairs, origin))
    worker_metrics().results(Counter((one.outcome, one.reason) for one in results.values()), trigger)
    pass_on(results, trigger, dispatch_with(app))
    return ended(results, time.monotonic() - began)


def ended(results: Mapping[str, Result], runtime_s: float) -> dict[str, Any]:
    """Return the result, or raise it, in the state of the account that went worst."""
    result = summary(results)
    for state, end in ((_has_failed, failed), (_is_retried, retried)):
        if concerned := {account: one for account, one in results.items() if state(one)}:
            end(sentence(concerned, len(results)), result, runtime_s)
    return result


def _has_failed(result: Result) -> bool:
    return result.outcome in _FAILED or result.reason == STASH_UNREADABLE


def _is_retried(result: Result) -> bool:
    return result.outcome in _RETRIED and result.reason != METHOD_NOT_RUN_HERE


def sentence(concerned: Mapping[str, Result], number: int) -> str:
    """Return what became of the accounts that went worst, the first few by name."""
    named = [
        f"{account} {'held' if one.reason in HELD else one.outcome.value}: {one.reason}"
        for account, one in concerned.items()
    ]
    more = [f"{len(named) - NAMED_MAX} more"] if len(named) > NAMED_MAX else []
    words = ", ".join(named[:NAMED_MAX] + more)
    return words if number == 1 else f"{len(named)} of {number} accounts: {words}"


def pass_on(results: Mapping[str, Result], trigger: Trigger, dispatch: Dispatch) -> None:
    """Send the accounts that only callback workers refresh to them, one a message."""
    for account, result in results.items():
        if result.reason == METHOD_NOT_RUN_HERE:
            try:
                dispatch([(account, result.generation)], trigger=trigger, callback=True)
            except Undeliverable as error:
                log.warning("not_passed_on", account=account, error=str(error))


def summary(results: Mapping[str, Result]) -> dict[str, Any]:
    """Return what Flower shows: how many of each outcome, and which accounts (failures only, where many).

    `held` counts those of `not_sent` that a closed gate holds.
    """
    counts: dict[str, Any] = dict(Counter(result.outcome.value for result in results.values()))
    if held := sum(result.reason in HELD for result in results.values()):
        counts["held"] = held
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
