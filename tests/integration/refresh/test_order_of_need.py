"""A backlog is worked off in the order in which tokens end, at any rate: the real planner on real SQL, in simulated time."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.support.simulated_fleet import SimulatedFleet
from worker.db.engine import make_engine
from worker.policy.backlog import QUEUED_S
from worker.scheduling.planner import HOLD_S

pytestmark = pytest.mark.integration


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


def backlog(fleet: SimulatedFleet, accounts: int, *, spare_s: float) -> dict[str, float]:
    """Store due accounts whose tokens end at the rate at which workers refresh, and `spare_s` later. Returns their ends."""
    chance = random.Random(15)
    ends = {f"acct-{n:05}": spare_s + n / fleet.requests_per_s for n in range(accounts)}
    fleet.add([(name, -chance.uniform(0, 300), ends[name]) for name in chance.sample(sorted(ends), accounts)])
    return {name: fleet.now + end_s for name, end_s in ends.items()}


@pytest.mark.parametrize("requests_per_s", [4, 40])
def test_no_token_of_a_backlog_ends_that_need_not(engine: Engine, requests_per_s: int) -> None:
    fleet = SimulatedFleet(engine, requests_per_s)
    ends = backlog(fleet, 60 * requests_per_s, spare_s=5)
    fleet.run(65)
    assert fleet.begun_at.keys() == ends.keys()
    assert [name for name, at in fleet.begun_at.items() if at > ends[name]] == []


def test_workers_never_wait_for_a_plan(engine: Engine) -> None:
    fleet = SimulatedFleet(engine, 300)
    backlog(fleet, 6_000, spare_s=60)
    fleet.run(22)
    assert len(fleet.begun_at) == 6_000
    assert (
        fleet.idle_s <= 2 + 1.0
    )  # it ends before the simulation does; a fleet of unknown speed is given little at first


def test_what_becomes_due_and_ends_sooner_overtakes_a_backlog(engine: Engine) -> None:
    fleet = SimulatedFleet(engine, 20)
    backlog(fleet, 1_500, spare_s=200)
    fleet.run(20)
    fleet.add([(f"urgent-{n}", 0.0, 25.0) for n in range(20)])
    came_at = fleet.now
    fleet.run(15)
    waited_s = [fleet.begun_at[f"urgent-{n}"] - came_at for n in range(20)]
    assert max(waited_s) <= QUEUED_S + 2  # what was sent before, and its own message


def test_accounts_of_lost_messages_go_first_once_they_are_due_again(engine: Engine) -> None:
    fleet = SimulatedFleet(engine, 20, lost=frozenset({2, 5}))
    ends = backlog(fleet, 3_000, spare_s=60)
    fleet.run(int(HOLD_S + 2 * QUEUED_S))
    lost = [name for name in sorted(ends)[:400] if name not in fleet.begun_at]
    assert lost == []


def test_the_order_holds_where_a_provider_turns_slow(engine: Engine) -> None:
    fleet = SimulatedFleet(engine, 100)
    ends = backlog(fleet, 4_000, spare_s=400)
    fleet.run(15)
    fleet.requests_per_s = 5
    fleet.run(30)
    # All that was begun ends sooner than what was not.
    assert fleet.begun_at.keys() == set(sorted(ends)[: len(fleet.begun_at)])
