"""Workers are asked who they are only where the last refresh does not show that they are at work."""

from __future__ import annotations

from typing import Any

import pytest

from models.tables.account import Account, RefreshMethod
from models.tables.attempt import Attempt, Outcome, Trigger
from worker.diagnostics.explain.gather import _seen_at_work

NOW = 1_790_000_000.0
WORKER = "refresh@one"


def account(**facts: Any) -> Account:
    given: dict[str, Any] = {"id": "acct", "provider": "acme", "next_refresh_at": NOW + 60, **facts}
    return Account(**given)


def attempt(**facts: Any) -> Attempt:
    return Attempt(
        **{
            "id": "a", "account_id": "acct", "trigger": Trigger.PLANNED, "opened_at": NOW - 61, "closed_at": NOW - 60,
            "generation": 1, "config_version": 1, "outcome": Outcome.REFRESHED, "worker": WORKER, **facts,
        }
    )  # fmt: skip


def seen(
    one: Account, *attempts: Attempt, clocks: dict[str, float] | None = None, planned_ago_s: float = 1.0
) -> Any:
    known = {WORKER: 0.0} if clocks is None else clocks
    return _seen_at_work(one, attempts, known, NOW, NOW - planned_ago_s)


def test_a_worker_that_refreshed_the_account_and_says_that_it_runs_is_not_asked() -> None:
    assert seen(account(), attempt()) == {WORKER: ["refresh"]}


@pytest.mark.parametrize(
    "asked",
    [
        seen(account()),
        seen(account(), attempt(worker=None)),
        seen(account(), attempt(), clocks={"another@one": 0.0}),
        seen(account(), attempt(), planned_ago_s=60),
        seen(account(next_refresh_at=NOW - 1), attempt()),
        seen(account(next_refresh_at=None), attempt()),
        seen(account(claim_attempt="b"), attempt()),
        seen(account(refresh_method=RefreshMethod.CALLBACK), attempt()),
    ],
    ids=["untried", "unnamed", "silent", "no plans", "due", "unplanned", "under way", "callback"],
)
def test_else_they_are_asked(asked: object) -> None:
    assert asked is None
