"""A provider's budget and breaker, seen from accounts."""

from __future__ import annotations

import httpx
import pytest

from models.attempt import Outcome, Trigger
from models.budget import Breaker, Shortage
from tests.path.conftest import Bench
from tests.path.test_late_answers import sealed_answer
from tests.path.test_refresh import granted
from worker.closing import STASH_ADOPTED
from worker.io.traffic import hosts_of_note, look_at_budgets, look_at_traffic
from worker.policy.backoff import RETRY_AFTER_MAX_S

#: What budgets decide, Redis decides: one database is enough.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
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
    assert (
        0
        < int(bench.runtime.redis.pttl("refreshd:budget:{acme@provider.example}:pause"))
        <= RETRY_AFTER_MAX_S * 1000
    )


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


@ON_SQLITE
def test_what_a_budget_gives_goes_to_those_that_end_soonest(bench: Bench) -> None:
    ends = bench.add("acct-0", knobs='{"requests_per_s": 1}').expires_at
    assert ends is not None
    for number in (1, 2):
        bench.add(f"acct-{number}", expires_at=ends - number, knobs='{"requests_per_s": 1}')
    bench.answer = granted
    results = bench.refresh("acct-0", "acct-1", "acct-2")
    assert {name for name, one in results.items() if one.outcome == Outcome.REFRESHED} == {"acct-2"}


@ON_SQLITE
def test_an_answer_that_waits_needs_no_budget(bench: Bench) -> None:
    bench.add("first")
    bench.add()
    bench.answer = lambda _: httpx.Response(429, headers={"Retry-After": "120"})
    bench.refresh("first")
    bench.runtime.redis.set(bench.runtime.keys.stash("acct"), sealed_answer(bench, "late", follows=1))

    assert bench.refresh()["acct"].reason == STASH_ADOPTED


def let_pass(bench: Bench, breaker: str) -> None:
    """Have the pause of an open breaker be over."""
    bench.runtime.redis.hset(breaker, mapping={"until": 0, "again": 0})


@ON_SQLITE
def test_one_probe_finds_out_that_a_provider_is_back(bench: Bench) -> None:
    for account in FLEET:
        bench.add(account)
    bench.answer = lambda _: httpx.Response(503)
    bench.refresh(*FLEET)
    let_pass(bench, bench.runtime.budgets.breaker_key("acme@provider.example"))
    bench.answer, bench.requests = granted, []

    outcomes = [one.outcome for one in bench.refresh(*FLEET, trigger=Trigger.FORCED).values()]
    assert (outcomes.count(Outcome.REFRESHED), len(bench.requests)) == (1, 1)
    bench.runtime.run(bench.runtime.budgets.close())
    outcomes = [one.outcome for one in bench.refresh(*FLEET, trigger=Trigger.FORCED).values()]
    assert outcomes.count(Outcome.REFRESHED) == len(FLEET) - 1


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


@ON_SQLITE
@pytest.mark.parametrize("back", [True, False], ids=["it is right again", "the provider is down"])
def test_one_account_finds_out_whether_a_client_is_right_again(bench: Bench, back: bool) -> None:
    accounts = [f"acct-{number}" for number in range(5)]
    for account in accounts:
        bench.add(account)
    bench.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})
    bench.refresh(accounts[0])
    (breaker,) = bench.runtime.redis.keys("refreshd:client:*:breaker")
    let_pass(bench, str(breaker))
    bench.answer, bench.requests = (granted if back else lambda _: httpx.Response(503)), []

    bench.refresh(*accounts, trigger=Trigger.FORCED)
    assert len(bench.requests) == 1
    bench.runtime.run(bench.runtime.admission.close())
    bench.refresh(*accounts, trigger=Trigger.FORCED)
    assert len(bench.requests) == (len(accounts) if back else 1)


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


# --- a provider whose accounts have hosts of their own --------------------------------------------------


def gone(request: httpx.Request) -> httpx.Response:
    """One tenant's host is there no more; the others are well."""
    if request.url.host == "gone.example":
        raise httpx.ConnectError("no such host", request=request)
    return granted(request)


def test_a_tenant_s_host_that_is_gone_keeps_no_other_tenant_waiting(bench: Bench) -> None:
    for account in FLEET:
        bench.add(account, provider="generic", token_url="https://gone.example/token")
    bench.add("well", provider="generic", token_url="https://well.example/token")
    bench.answer = gone
    for account in FLEET[:-1]:
        bench.refresh(account)
    breaker = bench.runtime.budgets.breaker_key("generic@gone.example")
    bench.runtime.redis.hset(breaker, "until", str(2**53))  # however slow the machine is

    results = bench.refresh("well", FLEET[-1])

    assert results["well"].outcome == Outcome.REFRESHED
    assert (results[FLEET[-1]].outcome, results[FLEET[-1]].reason) == (
        Outcome.NOT_SENT,
        Shortage.BREAKER_OPEN,
    )
    redis = bench.runtime.redis
    (left_alone,) = look_at_budgets(redis, "refreshd:", hosts_of_note(redis, "refreshd:"))
    assert (left_alone.name, left_alone.paused_s) == ("generic@gone.example", None)
    assert left_alone.breaker_open_s is not None
    traffic = look_at_traffic(redis, "refreshd:", queues=[], budgets=["generic", "acme"])
    assert traffic.hosts_down == {"generic": 1, "acme": 0}
    assert traffic.breakers == {"generic": False, "acme": False}


def test_what_one_tenant_s_host_asks_for_holds_for_its_accounts_alone(bench: Bench) -> None:
    for account in ("one", "other"):
        bench.add(account, provider="generic", token_url="https://one.example/token")
    bench.add("third", provider="generic", token_url="https://third.example/token")
    bench.answer = lambda _: httpx.Response(429, headers={"Retry-After": "60"})
    bench.refresh("one")
    bench.answer = granted

    results = bench.refresh("other", "third")

    assert (results["other"].reason, results["third"].outcome) == (Shortage.PAUSED, Outcome.REFRESHED)


def test_a_rate_holds_for_each_host_and_a_group_of_many_takes_what_each_gives(bench: Bench) -> None:
    for tenant in ("a", "b", "c"):
        for number in range(3):
            bench.add(
                f"{tenant}{number}",
                provider="generic",
                token_url=f"https://{tenant}.example/token",
                knobs='{"requests_per_s": 2}',
            )
    bench.answer = granted

    results = bench.refresh(*(f"{tenant}{number}" for tenant in "abc" for number in range(3)))

    refreshed = sorted(account for account, one in results.items() if one.outcome == Outcome.REFRESHED)
    assert [account[0] for account in refreshed] == ["a", "a", "b", "b", "c", "c"]


def test_a_refused_client_is_probed_by_one_account_whatever_its_host(bench: Bench) -> None:
    for tenant in ("a", "b", "c"):
        bench.add(tenant, provider="generic", token_url=f"https://{tenant}.example/token")
    bench.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})
    bench.refresh("a")

    assert {one.reason for one in bench.refresh("b", "c").values()} == {Shortage.CLIENT_REFUSED}
    assert len(bench.requests) == 1
