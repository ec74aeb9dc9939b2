"""The planner's and the reconciler's looks at the fleet: whom they take, whom they leave, and what a look costs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlmodel import Session

from models.tables.account import Account
from models.tables.attempt import INTERRUPTED, Attempt
from worker.db.accounts.stored import Accounts, blank
from worker.db.engine import database_now, make_engine, now_sql, reading
from worker.db.planning.schedule import Schedule, abandoned
from worker.db.publication.store import PublicationStore


class Fleet:
    """Accounts, and the schedule that looks at them. Times are seconds from now."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.schedule = Schedule(engine)
        self.publications = PublicationStore(engine)
        with reading(engine) as connection:
            self.now = database_now(connection)

    def add(self, account_id: str, **columns: Any) -> None:
        """Store an account that is due; `*_at` and `*_until` are seconds from now."""
        given = {"next_refresh_at": -10.0, "plan_at": -10.0, "expires_at": 60.0, **columns}
        times = {
            name: self.now + value if value is not None and name.endswith(("_at", "_until")) else value
            for name, value in given.items()
        }
        row = blank(account_id, **{"provider": "acme", "generation": 1, "status": "active", **times})
        Accounts(self.engine).save([row])

    def row(self, account_id: str) -> Account:
        return Accounts(self.engine).find([account_id])[account_id]

    def plans(self, *ids: str) -> list[float | None]:
        """When each is looked at, seconds from now."""
        found = [self.row(account_id).plan_at for account_id in ids]
        return [None if at is None else round(at - self.now) for at in found]

    def attempt(self, account_id: str) -> Attempt:
        with Session(self.engine) as session:
            return session.get_one(Attempt, f"of {account_id}")


def fleet_of(url: str) -> Iterator[Fleet]:
    engine = make_engine(url)
    yield Fleet(engine)
    engine.dispose()


@pytest.fixture
def fleet(sqlite_url: str) -> Iterator[Fleet]:
    """On SQLite: the path's tests run the same statements on PostgreSQL too."""
    yield from fleet_of(sqlite_url)


@pytest.fixture
def postgres_fleet(postgres_url: str) -> Iterator[Fleet]:
    yield from fleet_of(postgres_url)


def test_abandoned_attempts_are_found_by_an_index(fleet: Fleet) -> None:
    """On SQLite: PostgreSQL's planner reads a small table as a whole, whatever its indexes."""
    with reading(fleet.engine) as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {abandoned(now_sql(fleet.engine))}").all()
    assert "SEARCH account USING INDEX ix_account_unplanned_claim" in str(plan)


@pytest.mark.parametrize("store", ["fleet", "postgres_fleet"])
def test_due_accounts_are_claimed_in_the_order_in_which_their_tokens_end(
    store: str, request: pytest.FixtureRequest
) -> None:
    fleet: Fleet = request.getfixturevalue(store)
    for account, ends_at, planned_at in (
        ("no known end", None, -90.0),
        ("ends last", 60.0, -80.0),
        ("ended", -5.0, -1.0),
        ("ends soon", 30.0, -70.0),
        ("not due", -60.0, 5.0),
    ):
        fleet.add(account, expires_at=ends_at, plan_at=planned_at)
    claims = [fleet.schedule.claim_due(2, hold_s=60) for _ in range(3)]
    assert [[one.id for one in claim.accounts] for claim in claims] == [
        ["ended", "ends soon"],
        ["ends last", "no known end"],
        [],
    ]
    assert fleet.plans("ended", "not due") == [60, 5]


@pytest.mark.parametrize("store", ["fleet", "postgres_fleet"])
def test_accounts_of_callbacks_are_claimed_apart_from_others(
    store: str, request: pytest.FixtureRequest
) -> None:
    fleet: Fleet = request.getfixturevalue(store)
    fleet.add("mine", refresh_method="callback", callback="mine")
    fleet.add("other")
    found = {
        kind: [one.id for one in fleet.schedule.claim_due(5, hold_s=60, callback=kind).accounts]
        for kind in (True, False)
    }
    assert found == {True: ["mine"], False: ["other"]}


def test_a_plan_waits_for_no_row_that_another_process_is_at(postgres_fleet: Fleet) -> None:
    fleet = postgres_fleet
    fleet.add("held", plan_at=-20.0)
    fleet.add("free")
    with fleet.engine.connect() as other, ThreadPoolExecutor(1) as pool:
        other.execute(text("SELECT id FROM account WHERE id = 'held' FOR UPDATE"))
        claiming = pool.submit(fleet.schedule.claim_due, 10, hold_s=60)
        try:
            assert [one.id for one in claiming.result(timeout=20).accounts] == ["free"]
        finally:
            other.rollback()


def test_who_is_begun_early(fleet: Fleet) -> None:
    early: dict[str, Any] = {"next_refresh_at": 50.0, "plan_at": 50.0}
    fleet.add("fits", **early)
    fleet.add("soonest", next_refresh_at=40.0, plan_at=40.0)
    fleet.add("degraded", **early, status="degraded")
    fleet.add("waits its turn", next_refresh_at=30.0, plan_at=35.0)
    fleet.add("gone", **early, status="reauthorize")
    fleet.add("other", **early, provider="other")
    first = fleet.schedule.claim_early("acme", 1, hold_s=60, reason="crowd")
    rest = fleet.schedule.claim_early("acme", 9, hold_s=60, reason="crowd")
    assert [one.id for one in first] == ["soonest"]
    assert {one.id for one in rest} == {"fits", "degraded"}
    assert fleet.row("fits").due_reason == "crowd"


def test_what_could_not_be_sent_is_given_back_and_what_has_to_wait_waits(fleet: Fleet) -> None:
    fleet.add("planned", plan_at=60.0)
    fleet.add("out of the plan", plan_at=None)
    both = ["planned", "out of the plan"]
    fleet.schedule.give_back(both)
    assert fleet.plans(*both) == [-10, None]
    fleet.schedule.postpone([(account, 30.0) for account in both])
    assert fleet.plans(*both) == [30, None]


def test_after_its_messages_are_lost_every_claim_of_the_planner_is_over(fleet: Fleet) -> None:
    fleet.add("sent", plan_at=60.0)
    fleet.add("under way", plan_at=60.0, claim_attempt="x", claim_until=60.0)
    fleet.add("in its turn", next_refresh_at=30.0, plan_at=60.0)
    fleet.schedule.give_back_all()
    assert fleet.plans("sent", "under way", "in its turn") == [-10, 60, 60]


@pytest.mark.parametrize(
    ("columns", "closed"),
    [
        ({"plan_at": None, "claim_until": -1.0}, True),
        ({"plan_at": None, "claim_until": 60.0}, False),
        ({"plan_at": 5.0, "claim_until": -1.0}, False),  # the plan will look at it
    ],
    ids=["ended", "under way", "planned"],
)
def test_an_attempt_that_nobody_will_look_at_is_closed(
    fleet: Fleet, columns: dict[str, Any], closed: bool
) -> None:
    fleet.add("a", **columns, claim_attempt="of a")
    with Session(fleet.engine) as session:
        session.add(
            Attempt(
                id="of a", account_id="a", trigger="forced", opened_at=1.0, generation=1, config_version=1
            )
        )
        session.commit()
    assert fleet.schedule.close_abandoned() == int(closed)
    row, attempt = fleet.row("a"), fleet.attempt("a")
    assert row.claim_attempt == (None if closed else "of a")
    assert (row.claim_until is None, attempt.closed_at is not None) == (closed, closed)
    assert attempt.reason == (INTERRUPTED if closed else None)


def test_what_redis_has_is_noted_of_the_generation_that_it_has(fleet: Fleet) -> None:
    for account in ("a", "moved"):
        fleet.add(account, generation=3, published_generation=2)
    fleet.publications.mark_published([("a", 3), ("moved", 2)])
    fleet.publications.mark_published([("moved", 1)])
    assert [fleet.row(account).published_generation for account in ("a", "moved")] == [3, 2]


def test_a_walk_over_the_living_leaves_nobody_out_where_many_end_at_once(fleet: Fleet) -> None:
    for number in range(5):
        fleet.add(f"a{number}", expires_at=[60.0, 60.0, 60.0, None, None][number])
    seen: list[str] = []
    after = None
    while batch := fleet.publications.live_accounts(after, 2):
        seen += [one.id for one in batch]
        after = (batch[-1].expires_at if batch[-1].expires_at is not None else 9e15, batch[-1].id)
    assert seen == [f"a{number}" for number in range(5)]
