"""Planning, on real stores: who is claimed, in what order, and how many at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from models.attempt import Trigger
from models.budget import Limits
from tests.path.conftest import Bench
from worker.plan import (
    AHEAD_OF_A_CROWD,
    ANOTHER_PLAN,
    HOLD_S,
    QUEUES_FULL,
    TAKEN_HOLD_S,
    Planned,
    Planner,
    Undeliverable,
)

Message = tuple[tuple[tuple[str, int], ...], bool]


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
            dispatch=self._dispatch,
            queue_length=lambda _: queued,
            limits=lambda _: Limits(rate, 1000),
            rates_matter=rate is not None,
            interval_s=1.0,
            queue_limit=100,
            group_size=group_size,
            holder="test",
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
    Planning(bench, queued=queued).planner.plan()
    planned_at = bench.account().plan_at
    assert planned_at is not None
    assert planned_at - bench.runtime.clock.now() == pytest.approx(hold_s, abs=5)


def test_a_second_plan_at_once_does_nothing(bench: Bench) -> None:
    bench.add()
    bench.runtime.schedule.take_duty("plan", holder="other", for_s=30)
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
    ends = bench.add("acct-0").expires_at
    assert ends is not None
    for number in range(1, 10):
        bench.add(f"acct-{number}", expires_at=ends - number)
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
    assert bench.account(early).due_reason == AHEAD_OF_A_CROWD
    assert bench.refresh(early)[early].outcome != "not_due"
