"""A provider's budget and breaker, seen from accounts."""

from __future__ import annotations

import httpx
import pytest

from models.attempt import Outcome, Trigger
from models.budget import Breaker, Shortage
from tests.path.conftest import Bench
from tests.path.test_refresh import granted
from worker.policy.backoff import RETRY_AFTER_MAX_S

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


@pytest.mark.parametrize("asked", ["1764200000", "1e308", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_no_header_pauses_a_provider_for_longer_than_a_day(bench: Bench, asked: str) -> None:
    bench.add("first")
    waiting = bench.add("second")
    bench.answer = lambda _: httpx.Response(429, headers={"Retry-After": asked})

    first, second = bench.refresh("first")["first"], bench.refresh("second")["second"]

    assert first.outcome == Outcome.RATE_LIMITED
    assert (second.outcome, second.reason) == (Outcome.NOT_SENT, Shortage.PAUSED)
    row = bench.account("second")
    assert row.plan_at is not None
    assert waiting.plan_at is not None
    # Its turn comes when the pause is over, or a moment later: not in fifty years.
    assert row.plan_at - waiting.plan_at < RETRY_AFTER_MAX_S + 600
    assert 0 < int(bench.runtime.redis.pttl("refreshd:budget:{acme}:pause")) <= RETRY_AFTER_MAX_S * 1000


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


def test_a_refused_client_is_told_once_and_tried_by_one_account(bench: Bench) -> None:
    accounts = [f"acct-{number}" for number in range(50)]
    for account in accounts:
        bench.add(account)
    bench.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})
    bench.refresh(accounts[0])

    rest = bench.refresh(*accounts[1:])

    assert len(bench.requests) == 1
    assert {(result.outcome, result.reason) for result in rest.values()} == {
        (Outcome.NOT_SENT, Shortage.CLIENT_REFUSED)
    }
    assert bench.events() == [("misconfigured", "invalid_client"), ("failed", "invalid_client")]


def test_a_replaced_client_secret_is_tried_at_once(bench: Bench) -> None:
    bench.add("old")
    bench.add("new", client_secret_sealed=bench.seal("new", "client_secret", "another"))
    bench.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})
    bench.refresh("old")
    bench.answer = granted

    assert bench.refresh("new")["new"].outcome == Outcome.REFRESHED


def test_an_account_that_has_to_wait_past_its_token_s_end_is_degraded(bench: Bench) -> None:
    account = bench.add("first")
    assert account.expires_at is not None
    bench.add("ended", expires_at=account.expires_at - 120)
    bench.answer = lambda _: httpx.Response(429, headers={"Retry-After": "60"})
    bench.refresh("first")

    bench.refresh("ended")

    assert (bench.account("ended").status, bench.account("ended").reason) == ("degraded", Shortage.PAUSED)
    state = bench.state("ended")
    assert state is not None
    assert state.status == "degraded"


def test_an_outage_uses_up_no_account_s_own_failures_once_it_is_known(bench: Bench) -> None:
    for account in FLEET:
        bench.add(account)
    bench.answer = lambda _: httpx.Response(503)
    bench.refresh(*FLEET)

    failures = [bench.account(account).failures for account in FLEET]

    assert sum(failures) < Breaker().threshold
    assert failures.count(0) >= len(FLEET) - Breaker().threshold + 1
