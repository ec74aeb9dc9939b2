"""A person's pause, on real stores: what stops, what does not, and how accounts come back."""

from __future__ import annotations

import json

import httpx
import pytest
from sqlalchemy import text

from models.pause_scope import Scope
from models.tables.account import TOKEN_ENDED
from models.tables.attempt import Outcome, Trigger
from models.tables.audit import Action, Actor
from refreshd_reader import Paused, Reader
from refreshd_reader.contract import PAUSED
from tests.integration.conftest import Bench
from tests.integration.scheduling.test_planner import Planning
from worker.context import AppContext
from worker.db.engine import is_sqlite, reading, writing
from worker.db.planning.pauses import is_paused
from worker.diagnostics.doctor import run_checks
from worker.scheduling.planner import BY_ITSELF, Planned
from worker.settings import Settings

MIA = Actor("mia", "desk-1")
FRESH = httpx.Response(200, json={"access_token": "new", "expires_in": 3600})
TENANT = "tenant=acme"
SCOPES = [(Scope.ACCOUNT, "acct"), (Scope.PROVIDER, "acme"), (Scope.LABEL, TENANT), (Scope.ALL, "")]
LABELS = '{"tenant": "acme"}'


def pause(bench: Bench, scope: Scope, *names: str, for_s: float | None = None) -> None:
    bench.runtime.pauses.pause(scope, names, for_s=for_s, reason="an outage at acme", actor=MIA)


def resume(bench: Bench, scope: Scope, *names: str) -> None:
    bench.runtime.pauses.resume(scope, names, actor=MIA)


def story(bench: Bench, account: str = "acct") -> list[tuple[str, str | None, str | None, int]]:
    entries = bench.runtime.history.of(account, limit=9)
    return [(one.trigger, one.outcome, one.reason, one.repeats) for one in entries]


def rows(bench: Bench) -> int:
    with reading(bench.runtime.engine) as connection:
        both = "(SELECT count(*) FROM pause) + (SELECT count(*) FROM label_pause)"
        return int(connection.execute(text(f"SELECT {both}")).scalar_one())


@pytest.mark.parametrize(("scope", "name"), SCOPES[:3])
def test_a_plan_sets_aside_what_is_paused_and_goes_on_with_the_others(
    bench: Bench, scope: Scope, name: str
) -> None:
    bench.add(labels=LABELS)
    bench.add("other", provider="other", labels='{"tenant": "beta"}')
    pause(bench, scope, name)
    planning = Planning(bench)

    assert planning.planner.plan() == Planned(accounts=1, messages=1)
    assert planning.planner.plan() == Planned()

    assert planning.accounts == {"other"}
    assert bench.account().plan_at is None
    assert story(bench) == [("planned", "disabled", PAUSED, 1)]


def test_a_plan_does_nothing_where_everything_is_paused(bench: Bench) -> None:
    bench.add()
    pause(bench, Scope.ALL, "")
    assert Planning(bench).planner.plan() == Planned(held_back=PAUSED)


@pytest.mark.parametrize("trigger", [Trigger.PLANNED, Trigger.REPORTED])
@pytest.mark.parametrize(("scope", "name"), SCOPES)
def test_what_is_queued_or_reported_is_not_begun_and_the_history_says_so_once(
    bench: Bench, scope: Scope, name: str, trigger: Trigger
) -> None:
    bench.add(labels=LABELS)
    pause(bench, scope, name)

    for _ in range(3):
        assert bench.refresh(trigger=trigger)["acct"].reason == PAUSED

    assert bench.requests == []
    assert story(bench) == [(trigger.value, "disabled", PAUSED, 3)]


def test_a_message_that_met_a_pause_and_the_plan_after_it_are_one_entry(bench: Bench) -> None:
    bench.add()
    pause(bench, Scope.ACCOUNT, "acct")
    bench.refresh()
    Planning(bench).planner.plan()
    assert story(bench) == [("planned", "disabled", PAUSED, 2)]


def test_a_person_may_force_one_refresh_of_what_is_paused(bench: Bench) -> None:
    bench.add()
    bench.answer = lambda _: FRESH
    pause(bench, Scope.ACCOUNT, "acct")
    assert bench.refresh(trigger=Trigger.FORCED)["acct"].outcome is Outcome.REFRESHED
    assert bench.refresh(seen=2)["acct"].reason == PAUSED


def test_a_call_under_way_ends_and_is_stored(bench: Bench) -> None:
    bench.add()

    def answer(_: httpx.Request) -> httpx.Response:
        pause(bench, Scope.ALL, "")
        return FRESH

    bench.answer = answer
    assert bench.refresh()["acct"].outcome is Outcome.REFRESHED
    assert bench.account().generation == 2


@pytest.mark.parametrize(("scope", "name"), [(Scope.PROVIDER, "acme"), (Scope.ACCOUNT, "cliff-000")])
def test_nothing_paused_is_begun_ahead_of_a_crowd(bench: Bench, scope: Scope, name: str) -> None:
    now = bench.add("due", provider="other").next_refresh_at
    assert now is not None
    for number in range(200):
        bench.add(
            f"cliff-{number:03}", next_refresh_at=now + 50 + number / 1e6, plan_at=now + 50 + number / 1e6
        )
    pause(bench, scope, name)
    planning = Planning(bench, rate=3)

    planning.planner.plan()

    begun = planning.accounts - {"due"}
    assert begun == (set() if scope is Scope.PROVIDER else {"cliff-001", "cliff-002", "cliff-003"})


def test_accounts_come_back_soonest_due_first_at_the_providers_rate(bench: Bench) -> None:
    first = bench.add("acct-0", token_url=None).next_refresh_at
    assert first is not None
    for number in range(1, 10):
        due_at = first - number
        bench.add(f"acct-{number}", token_url=None, expires_at=due_at, next_refresh_at=due_at, plan_at=first)
    pause(bench, Scope.PROVIDER, "acme")
    Planning(bench).planner.plan()
    resume(bench, Scope.PROVIDER, "acme")
    planning = Planning(bench, rate=3)

    assert planning.planner.plan() == Planned(accounts=3, messages=1)

    assert planning.accounts == {"acct-9", "acct-8", "acct-7"}
    assert rows(bench) == 0
    turns = [bench.account(f"acct-{number}").plan_at for number in (6, 5, 4)]
    assert turns == sorted(turn for turn in turns if turn is not None)


def test_a_return_that_is_interrupted_goes_on_with_the_next_plan(bench: Bench) -> None:
    for number in range(5):
        bench.add(f"acct-{number}")
    pause(bench, Scope.PROVIDER, "acme")
    Planning(bench).planner.plan()
    resume(bench, Scope.PROVIDER, "acme")

    assert bench.runtime.pauses.bring_back(2, actor=MIA) == 2
    assert rows(bench) == 1

    assert Planning(bench).planner.plan() == Planned(accounts=5, messages=1)
    assert rows(bench) == 0


def test_a_pause_ends_by_itself_and_the_audit_trail_says_so(bench: Bench) -> None:
    bench.add()
    pause(bench, Scope.ACCOUNT, "acct", for_s=3600)
    Planning(bench).planner.plan()
    with writing(bench.runtime.engine) as connection:
        connection.execute(text('UPDATE pause SET "until" = 1'))

    assert Planning(bench).planner.plan() == Planned(accounts=1, messages=1)

    trail = bench.runtime.audit.of("acct", "acme", limit=9)
    assert [(one.action, one.actor) for one in trail] == [
        (Action.RESUME, BY_ITSELF),
        (Action.PAUSE, "mia"),
    ]


def test_the_trail_of_an_account_has_the_pauses_of_its_labels_alone(bench: Bench) -> None:
    bench.add(labels=LABELS)
    bench.add("acct-1")
    pause(bench, Scope.LABEL, TENANT)
    pause(bench, Scope.LABEL, "tenant=acme2")
    pause(bench, Scope.ALL, "")

    def labels(account: str) -> list[str | None]:
        return [
            json.loads(one.detail).get("label") for one in bench.runtime.audit.of(account, "acme", limit=9)
        ]

    assert labels("acct") == [None, TENANT]
    assert labels("acct-1") == [None]


def test_what_another_pause_holds_does_not_come_back(bench: Bench) -> None:
    bench.add()
    bench.add("acct-1")
    pause(bench, Scope.PROVIDER, "acme")
    pause(bench, Scope.ACCOUNT, "acct")
    Planning(bench).planner.plan()
    resume(bench, Scope.PROVIDER, "acme")
    planning = Planning(bench)

    planning.planner.plan()
    assert planning.accounts == {"acct-1"}

    resume(bench, Scope.ACCOUNT, "acct")
    planning.planner.plan()
    assert planning.accounts == {"acct-1", "acct"}


def test_accounts_of_a_label_come_back_when_its_pause_ends_and_its_trail_names_it(bench: Bench) -> None:
    for number in range(3):
        bench.add(f"acct-{number}", labels=LABELS)
    bench.add("other")
    pause(bench, Scope.LABEL, TENANT, for_s=3600)
    planning = Planning(bench)
    assert planning.planner.plan() == Planned(accounts=1, messages=1)
    (held,) = bench.runtime.pauses.of("acct-1", "acme")
    assert (held.what, held.option) == ("label tenant=acme", "--label tenant=acme")
    assert bench.runtime.pauses.of("other", "acme") == []

    resume(bench, Scope.LABEL, TENANT)

    assert planning.planner.plan() == Planned(accounts=3, messages=1)
    assert rows(bench) == 0
    (paused, ended) = reversed(bench.runtime.audit.latest(limit=9))
    assert (paused.action, ended.action) == (Action.PAUSE, Action.RESUME)
    assert '"label": "tenant=acme"' in paused.detail
    assert '"label": "tenant=acme"' in ended.detail


def test_a_pause_of_a_label_ends_by_itself(bench: Bench) -> None:
    bench.add(labels=LABELS)
    pause(bench, Scope.LABEL, TENANT, for_s=3600)
    Planning(bench).planner.plan()
    with writing(bench.runtime.engine) as connection:
        connection.execute(text('UPDATE label_pause SET "until" = 1'))

    assert Planning(bench).planner.plan() == Planned(accounts=1, messages=1)

    assert rows(bench) == 0
    assert bench.runtime.audit.latest(limit=1)[0].actor == BY_ITSELF


def test_an_account_that_another_of_its_labels_holds_does_not_come_back(bench: Bench) -> None:
    bench.add(labels='{"tenant": "acme", "stage": "live"}')
    pause(bench, Scope.LABEL, TENANT, "stage=live")
    Planning(bench).planner.plan()
    resume(bench, Scope.LABEL, TENANT)
    assert Planning(bench).planner.plan() == Planned()
    resume(bench, Scope.LABEL, "stage=live")
    assert Planning(bench).planner.plan() == Planned(accounts=1, messages=1)


def test_a_planner_of_the_release_before_knows_no_pause_of_a_label(bench: Bench) -> None:
    """It would stop at a scope that it does not know: they are in a table that it does not read."""
    bench.add(labels=LABELS)
    pause(bench, Scope.LABEL, TENANT)
    with reading(bench.runtime.engine) as connection:
        assert connection.execute(text("SELECT scope FROM pause")).all() == []


def test_paused_again_before_it_came_back_it_stays(bench: Bench) -> None:
    bench.add()
    pause(bench, Scope.PROVIDER, "acme")
    Planning(bench).planner.plan()
    resume(bench, Scope.PROVIDER, "acme")
    pause(bench, Scope.PROVIDER, "acme")
    assert Planning(bench).planner.plan() == Planned()
    assert bench.account().plan_at is None


def test_what_was_set_aside_in_the_moment_in_which_a_pause_ended_is_found(bench: Bench) -> None:
    due_at = bench.add(plan_at=None).next_refresh_at
    bench.add("held", plan_at=None, provider="other")
    pause(bench, Scope.PROVIDER, "other")
    assert bench.runtime.pauses.bring_back_stray(100) == 1
    assert bench.account().plan_at == due_at
    assert bench.account("held").plan_at is None


def test_a_paused_provider_is_not_looked_through_by_each_plan(bench: Bench) -> None:
    """What is due is found by its index, a pause by its key: nothing is scanned."""
    engine = bench.runtime.engine
    due = "SELECT id FROM account WHERE plan_at IS NOT NULL AND plan_at <= 9e9 ORDER BY plan_at LIMIT 9"
    waiting = "plan_at IS NULL AND next_refresh_at IS NOT NULL AND provider = 'acme'"
    aside = f"SELECT id FROM account WHERE {waiting} AND NOT {is_paused('1e9')} ORDER BY next_refresh_at"  # noqa: S608
    explain = "EXPLAIN QUERY PLAN " if is_sqlite(engine) else "EXPLAIN "
    with writing(engine) as connection:
        if not is_sqlite(engine):
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        plans = [str(connection.execute(text(explain + sql)).all()) for sql in (due, aside)]
    assert not any("SCAN account" in plan or "Seq Scan on account" in plan for plan in plans), plans
    if is_sqlite(engine):  # PostgreSQL chooses by statistics, and this table is empty
        assert "ix_account_plan_at" in plans[0]
        assert "ix_account_aside" in plans[1]
        assert "SCAN pause" not in plans[1]


def test_a_paused_account_whose_token_ends_is_told_as_what_it_is(bench: Bench, settings: Settings) -> None:
    now = bench.runtime.clock.now()
    bench.add("alive", provider="acme")
    bench.add("elsewhere", provider="other", expires_at=now - 5)
    bench.add(expires_at=now - 5)
    pause(bench, Scope.PROVIDER, "acme")
    Planning(bench).planner.plan()

    done = bench.runtime.run(bench.runtime.reconciler.reconcile())
    again = bench.runtime.run(bench.runtime.reconciler.reconcile())

    assert done is not None
    assert again is not None
    assert (done.ended, again.ended) == (2, 0)
    assert [bench.account(name).reason for name in ("alive", "elsewhere")] == [None, TOKEN_ENDED]
    account, state = bench.account(), bench.state()
    assert (account.status, account.reason) == ("degraded", PAUSED)
    assert state is not None
    assert (state.status, state.reason) == ("degraded", PAUSED)
    assert state.since == pytest.approx(account.status_at, abs=1)
    assert ("degraded", PAUSED) in bench.events()
    with Reader.from_url(settings.redis) as reader:
        with pytest.raises(Paused, match=r"^acct: paused by an operator, and without a token since 20"):
            reader.get("acct")
        with pytest.raises(Paused):
            reader.wait_for("acct", newer_than=1, timeout_s=60)

    resume(bench, Scope.PROVIDER, "acme")
    bench.answer = lambda _: FRESH
    bench.refresh()
    state = bench.state()
    assert state is not None
    assert (state.status, state.reason) == ("active", None)


@pytest.mark.parametrize(("scope", "name"), SCOPES)
def test_each_kind_of_pause_is_told_once_the_token_has_ended(bench: Bench, scope: Scope, name: str) -> None:
    bench.add(expires_at=bench.runtime.clock.now() - 5)
    bench.add("never-planned", expires_at=bench.runtime.clock.now() - 5, next_refresh_at=None, plan_at=None)
    pause(bench, scope, name)
    done = bench.runtime.run(bench.runtime.reconciler.reconcile())
    assert done is not None
    assert done.ended == 1
    assert bench.account().status == "degraded"


def test_explain_and_doctor_name_a_pause(bench: Bench, settings: Settings) -> None:
    bench.add()
    pause(bench, Scope.PROVIDER, "acme")
    here = AppContext(settings)
    assert [one.what for one in here.pauses.of("acct", "acme")] == ["provider acme"]
    warnings = [one.message for one in run_checks(here, lambda: None) if one.check == "pauses"]
    here.close()
    assert len(warnings) == 1
    assert warnings[0].endswith("by mia@desk-1: an outage at acme")
