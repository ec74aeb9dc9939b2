"""Gates, seen from accounts: who is called beside others that fail, who waits, and who comes next."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import pytest
from msgspec.structs import replace

from models.rate_limit import WaitReason
from models.tables.account import HELD_LOOK_S, Account
from models.tables.attempt import Outcome, Trigger
from tests.integration.conftest import Bench
from tests.integration.refresh.test_late_answers import sealed_answer
from tests.integration.refresh.test_refresher import granted
from worker.db.engine import writing
from worker.db.planning.held_accounts import HeldAccounts
from worker.monitoring.gate_status import GateStatus, Returning, look_at_gates, look_at_opened_gates
from worker.policy.backoff import RETRY_AFTER_MAX_S
from worker.policy.gates import EVIDENCE, Gate
from worker.policy.reasons.done import STASH_ADOPTED
from worker.redis.gates import gate_key, read_gates

#: What is decided before the database is asked needs one database only.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ORIGIN = "https://provider.example"
SICK = [f"sick-{number}" for number in range(EVIDENCE)]
REFUSED = {"error": "invalid_client"}
HOUR_S = 3600.0


def down(_: httpx.Request) -> httpx.Response:
    return httpx.Response(503)


def refusing(_: httpx.Request) -> httpx.Response:
    return httpx.Response(401, json=REFUSED)


def worked(bench: Bench, *ids: str, **fields: object) -> list[Account]:
    """Store accounts whose last call succeeded."""
    return [bench.add(account, **({"succeeded_at": 1.0} | fields)) for account in ids]


def fail(bench: Bench, *ids: str) -> None:
    """Have accounts fail, one after the other; of gates that closed the trickle is empty until `let_time_pass`."""
    for account in ids or SICK:
        bench.refresh(account)
    redis = bench.runtime.redis
    for key in redis.scan_iter("refreshd:gate:*", _type="string"):
        found = Gate.load(str(redis.get(key)))
        if found.trickle_whole_at:
            redis.set(
                key, replace(found, trickle_whole_at=found.trickle_whole_at + HOUR_S).dump(), keepttl=True
            )


def gate(bench: Bench, name: str = ORIGIN) -> Gate:
    return read_gates(bench.runtime.redis, "refreshd:", [name])[name]


def let_time_pass(bench: Bench, name: str = ORIGIN) -> None:
    """Have the trickle of a gate be whole again, as it is a second after the gate closed."""
    whole = replace(gate(bench, name), trickle_whole_at=0.0)
    bench.runtime.redis.set(gate_key("refreshd:", name), whole.dump())


def statuses(bench: Bench) -> list[GateStatus]:
    runtime = bench.runtime
    return look_at_gates(runtime.engine, runtime.redis, "refreshd:", now=runtime.clock.now())


def returning(bench: Bench) -> list[Returning]:
    runtime = bench.runtime
    return look_at_opened_gates(runtime.engine, runtime.redis, "refreshd:", now=runtime.clock.now())


def plan(bench: Bench) -> list[str]:
    """Plan once; return the accounts of the messages, in their order."""
    sent: list[str] = []

    def dispatch(accounts: Sequence[tuple[str, int]], **_: object) -> None:
        sent.extend(account for account, _ in accounts)

    bench.runtime.planner(dispatch).plan()
    return sent


# --- what closes a gate ---------------------------------------------------------------------------------


def test_an_origin_that_is_down_for_three_accounts_is_left_alone(bench: Bench) -> None:
    worked(bench, *SICK, "next")
    bench.answer = down
    fail(bench)

    before = bench.runtime.clock.now()
    result = bench.refresh("next")["next"]

    assert (result.outcome, result.reason) == (Outcome.NOT_SENT, WaitReason.DOWN)
    assert len(bench.requests) == EVIDENCE
    row = bench.account("next")
    assert (row.held_by, row.failures, row.failed_at) == (ORIGIN, 0, None)
    assert row.plan_at is not None
    assert row.plan_at > before + HELD_LOOK_S / 2


def test_accounts_of_another_port_are_called(bench: Bench) -> None:
    worked(bench, *SICK)
    worked(bench, "well", token_url="https://provider.example:8443/token")
    bench.answer = down
    fail(bench)
    bench.answer = granted
    assert bench.refresh("well")["well"].outcome == Outcome.REFRESHED


@pytest.mark.parametrize(
    "answer", [refusing, down, lambda _: httpx.Response(403), lambda _: httpx.Response(401)]
)
def test_accounts_that_never_worked_hold_no_account_that_did(bench: Bench, answer: object) -> None:
    for account in ("a", "b", "c", "d"):
        bench.add(account)
    worked(bench, "well")
    bench.answer = answer  # type: ignore[assignment]
    fail(bench, "a", "b", "c", "d")
    bench.answer = granted
    assert bench.refresh("well")["well"].outcome == Outcome.REFRESHED


@ON_SQLITE
def test_many_accounts_that_never_worked_do_not_hammer_an_origin_that_is_down(bench: Bench) -> None:
    accounts = [f"new-{number}" for number in range(50)]
    for account in accounts:
        bench.add(account)
    bench.answer = down
    fail(bench, *accounts[:EVIDENCE])
    reasons = [one.reason for one in bench.refresh(*accounts[EVIDENCE:]).values()]
    assert set(reasons) == {WaitReason.DOWN}


def test_one_account_with_a_wrong_secret_stops_nobody(bench: Bench) -> None:
    worked(bench, "sick", "well", client_auth="basic")
    bench.answer = refusing
    for _ in range(5):
        bench.refresh("sick", trigger=Trigger.FORCED)
    bench.answer = granted
    assert bench.refresh("well")["well"].outcome == Outcome.REFRESHED


def test_a_client_refused_for_three_accounts_is_told_once_and_held(bench: Bench) -> None:
    worked(bench, *SICK, "next")
    bench.answer = refusing
    fail(bench)

    assert bench.refresh("next")["next"].reason == WaitReason.REFUSED
    told = bench.events()
    assert [kind for kind, _ in told].count("failed") == EVIDENCE
    # Two accounts before anybody knew that it is the client, then the client.
    assert [kind for kind, _ in told].count("misconfigured") == EVIDENCE


def test_a_replaced_client_secret_is_tried_at_once(bench: Bench) -> None:
    worked(bench, *SICK)
    worked(bench, "new", client_secret_sealed=bench.seal("new", "client_secret", "another"))
    bench.answer = refusing
    fail(bench)
    bench.answer = granted
    assert bench.refresh("new")["new"].outcome == Outcome.REFRESHED


# --- a 429 ----------------------------------------------------------------------------------------------


def throttled(_: httpx.Request) -> httpx.Response:
    return httpx.Response(429, headers={"Retry-After": "120"})


def test_a_429_pauses_its_client_at_that_origin_and_costs_the_account_nothing(bench: Bench) -> None:
    worked(bench, "first", "second")
    worked(bench, "elsewhere", token_url="https://other.example/token")
    worked(bench, "stranger", client_id="another")
    bench.answer = throttled
    bench.refresh("first")
    bench.answer = granted

    assert bench.refresh("second")["second"].reason == WaitReason.THROTTLED
    assert bench.account("first").failures == 0
    assert bench.refresh("elsewhere")["elsewhere"].outcome == Outcome.REFRESHED
    assert bench.refresh("stranger")["stranger"].outcome == Outcome.REFRESHED


def test_an_origin_is_paused_once_a_second_client_hears_a_429(bench: Bench) -> None:
    worked(bench, "first")
    worked(bench, "second", client_id="another")
    worked(bench, "third", client_id="third")
    bench.answer = throttled
    fail(bench, "first", "second")
    assert bench.refresh("third")["third"].reason == WaitReason.THROTTLED


@pytest.mark.parametrize("asked", ["1e308", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_no_header_pauses_for_longer_than_a_day(bench: Bench, asked: str) -> None:
    worked(bench, "first")
    bench.answer = lambda _: httpx.Response(429, headers={"Retry-After": asked})
    bench.refresh("first")
    (name,) = HeldAccounts(bench.runtime.engine).gates()
    assert gate(bench, name).until <= bench.runtime.clock.now() + RETRY_AFTER_MAX_S


def test_after_a_pause_the_token_that_ended_first_goes_first_whoever_drew_the_429(bench: Bench) -> None:
    ends = bench.runtime.clock.now() - 100
    worked(bench, "drew", expires_at=ends)
    for number in (3, 1, 2):
        worked(bench, f"waits-{number}", expires_at=ends + number)
    bench.answer = throttled
    bench.refresh("drew")
    held = bench.refresh("waits-1", "waits-2", "waits-3")
    assert {one.reason for one in held.values()} == {WaitReason.THROTTLED}
    bench.runtime.run(bench.runtime.admission.close())  # nothing is written into the gates any more
    for name in HeldAccounts(bench.runtime.engine).gates():
        bench.runtime.redis.delete(gate_key("refreshd:", name))
    with writing(bench.runtime.engine) as connection:  # the pause is over, for those that heard the 429 too
        connection.exec_driver_sql("UPDATE account SET next_refresh_at = 1.0")

    assert plan(bench) == ["drew", "waits-1", "waits-2", "waits-3"]


def test_an_account_that_heard_a_429_itself_waits_as_long_as_it_asked_for_though_others_go_on(
    bench: Bench,
) -> None:
    worked(bench, "drew", "well")
    bench.answer = throttled
    bench.refresh("drew")
    bench.answer = granted
    bench.refresh("well", trigger=Trigger.FORCED)
    bench.runtime.run(bench.runtime.admission.close())

    assert plan(bench) == []
    drew = bench.account("drew")
    assert drew.held_by is None
    assert drew.plan_at is not None
    assert drew.plan_at > bench.runtime.clock.now() + 60


# --- whom a closed gate lets through ----------------------------------------------------------------------


def test_the_planner_sends_healthy_accounts_through_a_closed_gate_soonest_to_end_first(bench: Bench) -> None:
    now = bench.runtime.clock.now()
    worked(bench, *SICK)
    for number in (3, 1, 2):
        worked(bench, f"well-{number}", expires_at=now + 100 + number)
    bench.answer = down
    fail(bench)
    bench.refresh("well-1", "well-2", "well-3")
    assert len(bench.requests) == EVIDENCE
    let_time_pass(bench)

    sent = [account for account in plan(bench) if account not in SICK]  # those may be due again, and wait
    bench.answer = granted
    results = bench.refresh(*sent)

    assert sent == ["well-1", "well-2", "well-3"]
    assert {one.outcome for one in results.values()} == {Outcome.REFRESHED}


def test_a_success_opens_the_gate_and_brings_back_who_waited(bench: Bench) -> None:
    worked(bench, *SICK, "well", "waits")
    bench.answer = down
    fail(bench)
    bench.refresh("well", "waits")
    bench.answer = granted
    bench.refresh("well", trigger=Trigger.FORCED)
    bench.runtime.run(bench.runtime.admission.close())

    opened = gate(bench)
    assert opened == Gate(opened_at=opened.opened_at)
    assert opened.opened_at > 0
    (back,) = returning(bench)
    assert back.sentence == f"{ORIGIN}: 2 accounts to come back, at most 50 a second, soonest to end first"
    assert statuses(bench) == []
    assert "waits" in plan(bench)
    assert bench.account("waits").held_by is None
    assert returning(bench) == []


@pytest.mark.parametrize("trigger", [Trigger.FORCED, Trigger.REPORTED])
def test_what_a_person_or_a_connector_asks_for_goes_through(bench: Bench, trigger: Trigger) -> None:
    worked(bench, *SICK, "asked")
    bench.answer = down
    fail(bench)
    bench.answer = granted
    assert bench.refresh("asked", trigger=trigger)["asked"].outcome == Outcome.REFRESHED


def test_of_failing_accounts_the_one_that_waited_longest_probes_and_never_the_last_one(bench: Bench) -> None:
    worked(bench, *SICK)
    bench.answer = down
    fail(bench)
    held = HeldAccounts(bench.runtime.engine)
    last = gate(bench).last_failed
    later = {"held_by": ORIGIN, "plan_at": bench.runtime.clock.now() + HELD_LOOK_S}
    worked(bench, "failed-2", failed_at=2.0, **later)
    worked(bench, "failed-1", failed_at=1.0, **later)
    bench.add("never-worked", failed_at=0.5, **later)

    order = [held.claim_probe(ORIGIN, last_failed=last, hold_s=20)[0].id for _ in range(4)]

    assert order == ["failed-1", "failed-2", "never-worked", last]
    assert held.claim_probe(ORIGIN, last_failed=last, hold_s=20) == []


def test_an_account_whose_token_is_about_to_end_does_not_wait_for_the_planner(bench: Bench) -> None:
    worked(bench, *SICK)
    worked(bench, "urgent", expires_at=bench.runtime.clock.now() + 2)
    worked(bench, *(f"well-{number}" for number in range(7)))
    bench.answer = down
    fail(bench)
    bench.refresh("well-0")  # more than the trickle lets through: the planner picks from now on
    let_time_pass(bench)
    assert bench.refresh("well-1")["well-1"].reason == WaitReason.DOWN
    bench.answer = granted
    assert bench.refresh("urgent")["urgent"].outcome == Outcome.REFRESHED


# --- what people see --------------------------------------------------------------------------------------


def test_a_closed_gate_tells_since_when_by_whom_whom_it_holds_and_who_is_next(bench: Bench) -> None:
    now = bench.runtime.clock.now()
    worked(bench, *SICK)
    worked(bench, "later", "sooner")
    worked(bench, "ended", expires_at=now - 50)
    bench.answer = down
    fail(bench)
    bench.refresh("later", "sooner")

    (one,) = statuses(bench)

    assert (one.name, one.gate.by, one.gate.cause) == (ORIGIN, SICK[-1], WaitReason.DOWN)
    assert one.held.accounts == 3
    assert one.held.healthy == 2
    assert one.next_call in {"later", "sooner"}
    assert SICK[-1] in one.sentence(now)


def test_arithmetic_that_forbids_a_call_in_time_is_counted(bench: Bench) -> None:
    bench.answer = down
    worked(bench, *SICK)
    fail(bench)
    let_time_pass(bench)
    accounts = [f"well-{number:03}" for number in range(150)]
    worked(bench, *accounts, expires_at=bench.runtime.clock.now() + 20)
    bench.refresh(*accounts)
    (one,) = statuses(bench)
    assert 0 < one.held.too_many < len(accounts)


def test_an_edit_frees_an_account_from_its_gate(bench: Bench) -> None:
    worked(bench, *SICK, "held")
    bench.answer = refusing
    fail(bench)
    bench.refresh("held")
    row = bench.account("held")
    assert row.held_by is not None
    row.reconfigured(now=1.0)
    assert vars(row)["held_by"] is None
    assert row.plan_at == row.next_refresh_at


# --- rates, and what needs none -----------------------------------------------------------------------------


@ON_SQLITE
def test_what_a_rate_allows_goes_to_those_that_end_soonest(bench: Bench) -> None:
    ends = bench.add("acct-0", knobs='{"requests_per_s": 1}').expires_at
    assert ends is not None
    for number in (1, 2):
        bench.add(f"acct-{number}", expires_at=ends - number, knobs='{"requests_per_s": 1}')
    bench.answer = granted
    results = bench.refresh("acct-0", "acct-1", "acct-2")
    assert {name for name, one in results.items() if one.outcome == Outcome.REFRESHED} == {"acct-2"}


@ON_SQLITE
def test_accounts_that_fail_by_themselves_come_behind_the_others(bench: Bench) -> None:
    ends = bench.runtime.clock.now()
    bench.add("fails", failures=4, expires_at=ends - 500, knobs='{"requests_per_s": 1}')
    bench.add("well", expires_at=ends + 60, knobs='{"requests_per_s": 1}')
    bench.answer = granted
    assert bench.refresh("fails", "well")["well"].outcome == Outcome.REFRESHED


@ON_SQLITE
def test_a_forced_refresh_passes_a_rate_that_is_used_up(bench: Bench) -> None:
    for account in ("one", "other"):
        bench.add(account, knobs='{"requests_per_s": 0.01}')
    bench.answer = granted
    bench.refresh("one")
    assert bench.refresh("other", trigger=Trigger.FORCED)["other"].outcome == Outcome.REFRESHED


@ON_SQLITE
def test_an_answer_that_waits_passes_every_gate(bench: Bench) -> None:
    worked(bench, *SICK)
    bench.add()
    bench.answer = down
    fail(bench)
    bench.runtime.redis.set(bench.runtime.keys.stash("acct"), sealed_answer(bench, "late", follows=1))
    assert bench.refresh()["acct"].reason == STASH_ADOPTED


def test_calls_that_ended_leave_room_for_others(bench: Bench) -> None:
    bench.add("one", knobs='{"max_in_flight": 1}')
    bench.add("other", knobs='{"max_in_flight": 1}')
    bench.answer = granted
    assert bench.refresh("one")["one"].outcome == Outcome.REFRESHED
    bench.runtime.run(bench.runtime.admission.close())
    assert bench.refresh("other")["other"].outcome == Outcome.REFRESHED


def test_a_rate_holds_for_each_origin_and_a_group_of_many_takes_what_each_gives(bench: Bench) -> None:
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


def test_an_outage_is_no_failure_of_its_accounts_once_it_is_known(bench: Bench) -> None:
    worked(bench, *SICK, "d", "e")
    bench.answer = down
    fail(bench, *SICK)
    bench.refresh("d", "e", trigger=Trigger.FORCED)
    assert [bench.account(account).failures for account in ("d", "e")] == [0, 0]
