"""A provider's budget and breaker, seen from accounts."""

from __future__ import annotations

import httpx

from models.attempt import Outcome, Trigger
from models.budget import Breaker, Shortage
from tests.path.conftest import Bench
from tests.path.test_refresh import granted

FLEET = [f"acct-{number}" for number in range(Breaker().threshold + 2)]


def test_too_many_requests_pauses_the_provider_for_everybody_and_costs_the_account_nothing(
    bench: Bench,
) -> None:
    bench.add("first")
    bench.add("second")
    bench.answer = lambda _: httpx.Response(429, headers={"Retry-After": "120"})
    bench.refresh("first")
    bench.answer = granted

    second = bench.refresh("second")["second"]

    assert (second.outcome, second.reason) == (Outcome.NOT_SENT, Shortage.PAUSED)
    assert len(bench.requests) == 1
    row = bench.account("second")
    assert row.plan_at is not None
    assert row.next_refresh_at is not None
    assert row.plan_at > row.next_refresh_at + 100
    assert bench.account("first").failures == 0


def test_an_outage_opens_the_breaker_and_later_accounts_are_not_called(bench: Bench) -> None:
    for account in FLEET:
        bench.add(account)
    bench.answer = lambda _: httpx.Response(503)
    for account in FLEET[:-1]:
        bench.refresh(account)
    calls = len(bench.requests)

    last = bench.refresh(FLEET[-1])[FLEET[-1]]

    assert calls == Breaker().threshold
    assert len(bench.requests) == calls
    assert (last.outcome, last.reason) == (Outcome.NOT_SENT, Shortage.BREAKER_OPEN)
    assert bench.account(FLEET[-1]).failures == 0


def test_calls_that_ended_leave_room_for_others(bench: Bench) -> None:
    bench.add("one", knobs='{"max_in_flight": 1}')
    bench.answer = granted
    assert bench.refresh("one")["one"].outcome == Outcome.REFRESHED
    bench.runtime.run(bench.runtime.budgets.close())
    assert bench.refresh("one", seen=2, trigger=Trigger.FORCED)["one"].outcome == Outcome.REFRESHED
