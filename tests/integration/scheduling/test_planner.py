"""Planning, on real stores: who is claimed, in what order, and how many at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from models.rate_limit import Limits
from models.tables.attempt import Trigger
from tests.integration.conftest import Bench
from tests.support.large_fleet import NOTHING_DUE, fill
from tests.support.query_plans import recorded
from worker.broker.queues import CALLBACK
from worker.context import AppContext
from worker.db.claims import DueAccount
from worker.db.engine import database_now, reading
from worker.db.fleet_locks import FleetLock
from worker.db.planning.held_accounts import HeldAccounts
from worker.policy.backlog import COLD_START
from worker.policy.gates import Gate
from worker.policy.reasons.due import EARLY_REFRESH
from worker.policy.reasons.waiting import ANOTHER_PLAN, QUEUES_FULL
from worker.scheduling.held_picks import HeldPicks
from worker.scheduling.load_smoothing import LoadSmoothing
from worker.scheduling.planner import (
    HOLD_S,
    LOCK,
    LOCK_S,
    TAKEN_HOLD_S,
    Planned,
    Planner,
    PlanSettings,
    Undeliverable,
    group,
)
from worker.settings import Settings

Message = tuple[tuple[tuple[str, int], ...], bool]


def no_gates(bench: Bench) -> HeldPicks:
    """Return picks of a fleet whose gates are all open."""
    return HeldPicks(
        HeldAccounts(bench.runtime.engine), lambda _: {}, bench.runtime.clock.now, 1.0, lambda: 0.0
    )


class Planning:
    """A planner whose messages are kept."""

    def __init__(
        self, bench: Bench, *, rate: float | None = None, queued: int = 0, group_size: int = 50
    ) -> None:
        self.messages: list[Message] = []
        self.broker_is_away = False
        self.planner = Planner(
            schedule=bench.runtime.schedule,
            pauses=bench.runtime.pauses,
            held=no_gates(bench),
            dispatch=self._dispatch,
            queue_length=lambda _: queued,
            limits=lambda _: Limits(rate, 1000),
            settings=PlanSettings(
                interval_s=1.0, queue_limit=100, group_size=group_size, rates_matter=rate is not None
            ),
            lock=FleetLock(bench.runtime.engine, LOCK, holder="test", ttl_s=LOCK_S),
        )

    def _dispatch(self, accounts: Sequence[tuple[str, int]], *, trigger: Trigger, callback: bool) -> None:
        assert trigger is Trigger.PLANNED
        if self.broker_is_away:
            raise Undeliverable("away")
        self.messages.append((tuple(accounts), callback))

    @property
    def accounts(self) -> set[str]:
        return {account for pairs, _ in self.messages for account, _ in pairs}


def test_what_is_due_is_dispatched_once_by_provider(bench: Bench) -> None:
    for number in range(3):
        bench.add(f"acme-{number}", generation=number + 1)
    bench.add("other", provider="other")
    far = bench.account("other").expires_at
    assert far is not None
    bench.add("later", next_refresh_at=far + 60, plan_at=far + 60)
    planning = Planning(bench)

    assert planning.planner.plan() == Planned(accounts=4, messages=2)
    assert planning.planner.plan() == Planned()
    assert sorted(planning.messages) == [
        ((("acme-0", 1), ("acme-1", 2), ("acme-2", 3)), False),
        ((("other", 1),), False),
    ]


def test_a_callback_account_travels_alone_to_its_own_queue(bench: Bench) -> None:
    for number in range(2):
        bench.add(f"acct-{number}", refresh_method="callback", callback="acme")
    planning = Planning(bench)
    planning.planner.plan()
    assert sorted(planning.messages) == [((("acct-0", 1),), True), ((("acct-1", 1),), True)]


@pytest.mark.parametrize(
    ("queued", "method", "hold_s"), [(0, "body", TAKEN_HOLD_S), (1, "body", HOLD_S), (0, "callback", HOLD_S)]
)
def test_a_lost_message_is_sent_again_soon_where_it_could_not_have_waited(
    bench: Bench, queued: int, method: str, hold_s: float
) -> None:
    bench.add(refresh_method=method, callback="acme")
    with reading(bench.runtime.engine) as connection:
        before = database_now(connection)
    Planning(bench, queued=queued).planner.plan()
    with reading(bench.runtime.engine) as connection:
        after = database_now(connection)
    planned_at = bench.account().plan_at
    assert planned_at is not None
    assert before + hold_s - 0.01 <= planned_at <= after + hold_s + 0.01


def test_a_second_plan_at_once_does_nothing(bench: Bench) -> None:
    bench.add()
    FleetLock(bench.runtime.engine, LOCK, holder="other", ttl_s=30).take()
    assert Planning(bench).planner.plan() == Planned(held_back=ANOTHER_PLAN)


def test_full_queues_hold_the_plan_back(bench: Bench) -> None:
    bench.add()
    planning = Planning(bench, queued=100)
    assert planning.planner.plan() == Planned(held_back=QUEUES_FULL)
    assert planning.messages == []


def test_a_broker_that_is_away_gives_the_claims_back(bench: Bench) -> None:
    bench.add()
    planning = Planning(bench)
    planning.broker_is_away = True
    assert planning.planner.plan() == Planned()
    planning.broker_is_away = False
    assert planning.planner.plan() == Planned(accounts=1, messages=1)


def test_a_small_rate_takes_the_soonest_to_end_and_gives_the_others_their_turn(bench: Bench) -> None:
    ends = bench.add("acct-0", token_url=None).expires_at
    assert ends is not None
    for number in range(1, 10):
        bench.add(f"acct-{number}", token_url=None, expires_at=ends - number)
    planning = Planning(bench, rate=3)

    planning.planner.plan()

    assert planning.accounts == {"acct-9", "acct-8", "acct-7"}
    turns = [bench.account(f"acct-{number}").plan_at for number in (6, 5, 4)]
    assert turns == sorted(turn for turn in turns if turn is not None)


def test_a_cliff_is_begun_before_it_is_due(bench: Bench) -> None:
    now = bench.add("due").next_refresh_at
    assert now is not None
    for number in range(200):
        bench.add(f"cliff-{number:03}", next_refresh_at=now + 50, plan_at=now + 50)
    planning = Planning(bench, rate=3)

    planning.planner.plan()

    assert len(planning.accounts) == 3
    assert "due" in planning.accounts
    early = next(account for account in planning.accounts if account != "due")
    assert bench.account(early).due_reason == EARLY_REFRESH
    assert bench.refresh(early)[early].outcome != "not_due"


def test_accounts_of_hosts_of_their_own_are_not_paced_by_their_providers_name(bench: Bench) -> None:
    for number in range(10):
        bench.add(f"acct-{number}", token_url=f"https://tenant-{number}.example/token")
    planning = Planning(bench, rate=3)
    planning.planner.plan()
    assert len(planning.accounts) == 10


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_only_a_provider_of_one_host_has_a_rate_for_all_of_its_accounts(settings: Settings) -> None:
    here = AppContext(settings.model_copy(update={"requests_per_s": 5.0}))
    tenants = next(name for name, one in here.providers.known.items() if one.endpoint and one.host is None)
    single = next(name for name, one in here.providers.known.items() if one.host is not None)
    rates = [here.pace(name).requests_per_s for name in (single, tenants, "generic", "described nowhere")]
    assert rates == [5.0, None, None, None]


def due(account: str, ends_at: float | None, **fields: Any) -> DueAccount:
    return DueAccount(
        account, 1, **{"provider": "acme", "refresh_method": "body", **fields}, expires_at=ends_at
    )


def test_messages_are_sent_in_the_order_of_need_with_failing_accounts_behind() -> None:
    found = [
        due("no known end", None),
        due("ends late", 90.0),
        due("fails", 5.0, failures=3),
        due("ends soon", 10.0),
        due("other", 15.0, provider="other"),
        due("callback", 12.0, refresh_method="callback"),
        due("ends last", 95.0),
        due("next", 30.0),
    ]
    groups = [([one.id for one in accounts], callback) for accounts, callback in group(found, 2)]
    assert groups == [
        (["ends soon", "next"], False),
        (["callback"], True),
        (["other"], False),
        (["ends late", "ends last"], False),
        (["no known end", "fails"], False),
    ]


def test_a_full_callback_queue_holds_back_its_own_accounts_alone(bench: Bench) -> None:
    bench.add("mine", refresh_method="callback", callback="mine")
    bench.add("other")
    planning = Planning(bench)
    planning.planner._queue_length = lambda queue: 1_000 if queue == CALLBACK else 0
    planning.planner.plan()
    assert planning.accounts == {"other"}


def test_accounts_that_wait_for_their_providers_rate_keep_no_others_from_a_plan(bench: Bench) -> None:
    """Their tokens end first, and there are more of them than a first claim takes."""
    ends_at = 1_000.0
    for number in range(COLD_START + 5):
        bench.add(f"paced-{number}", provider="paced", token_url=None, expires_at=ends_at + number)
    bench.add("other")
    planning = Planning(bench, rate=3)
    planning.planner.plan()
    assert planning.accounts == {"paced-0", "paced-1", "paced-2", "other"}


def test_a_plan_with_nothing_due_sends_ten_statements_at_most(bench: Bench) -> None:
    fill(bench.runtime.engine, 1_000, due=NOTHING_DUE)
    runtime = bench.runtime
    runtime.run(runtime.reconciler.reconcile())
    planning = Planning(bench, rate=3)
    with recorded() as statements:
        runtime.run(runtime.reconciler.needed())
        assert planning.planner.plan() == Planned()
    sent = [sql for sql, _ in statements if not sql.startswith("BEGIN")]
    assert len(sent) <= 10


def test_a_crowd_is_remembered_and_not_counted_by_each_plan(bench: Bench) -> None:
    now = bench.add("due", token_url=None).next_refresh_at
    assert now is not None
    for number in range(200):
        bench.add(f"cliff-{number:03}", token_url=None, next_refresh_at=now + 50, plan_at=now + 50)
    planning = Planning(bench, rate=3)
    planning.planner.plan()
    with recorded() as statements:
        Planning(bench, rate=3).planner.plan()
    assert not [sql for sql, _ in statements if "GROUP BY provider" in sql]
    note = bench.runtime.schedule.outlook("plan").note
    assert json.loads(note or "")["crowds"]["acme"]["60.0"] == 200


@pytest.mark.parametrize("note", [None, "", "[]", '{"all_at": 1e12, "near_at": 1, "crowds": {}}'])
def test_crowds_are_counted_where_nothing_of_use_is_remembered(bench: Bench, note: str | None) -> None:
    now = bench.add(token_url=None).next_refresh_at
    assert now is not None
    bench.add("soon", token_url=None, next_refresh_at=now + 50, plan_at=now + 50)
    schedule = bench.runtime.schedule
    outlook = replace(schedule.outlook("plan"), note=note)
    assert LoadSmoothing(schedule, lambda _: True).look(outlook) == {
        "acme": {30.0: 0, 60.0: 1, 120.0: 1, 300.0: 1, 600.0: 1, 1200.0: 1}
    }


def test_accounts_that_come_back_take_half_of_what_workers_begin_at_most(bench: Bench) -> None:
    """Their tokens have ended, so they go first: a healthy account elsewhere would wait behind all of them."""
    ids = [f"held-{n}" for n in range(120)]
    for one in ids:
        bench.add(one, refresh_token=one, held_by="https://idp.example")
    gate = Gate(opened_at=bench.runtime.clock.now() - 300)
    held = HeldAccounts(bench.runtime.engine)
    picks = HeldPicks(
        held, lambda names: dict.fromkeys(names, gate), bench.runtime.clock.now, 1.0, lambda: 160.0
    )
    picks.pick(hold_s=20.0)
    assert sum(bench.account(one).held_by is None for one in ids) == 80
