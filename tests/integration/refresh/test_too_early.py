"""A refresh that a person asks for before its time, and that has to wait, leaves the plan as it was."""

from __future__ import annotations

import pytest

from models.rate_limit import WaitReason
from models.tables.attempt import Outcome, Trigger
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from worker.refresh.attempt import Deadlines

DUE_IN_S = 3000.0


@pytest.fixture
def early(bench: Bench) -> Bench:
    """A bench whose account is due much later."""
    due_at = bench.runtime.clock.now() + DUE_IN_S
    bench.add(next_refresh_at=due_at, plan_at=due_at, expires_at=due_at + 600)
    bench.answer = granted
    return bench


def planned(bench: Bench) -> tuple[float | None, float | None]:
    row = bench.account()
    return row.plan_at, row.next_refresh_at


def test_where_it_could_not_be_sent_it_is_planned_when_it_is_due(early: Bench) -> None:
    early.runtime.opener._deadlines = Deadlines(
        call_timeout_s=30.0, claim_s=1.0
    )  # so that no call could end within its claim
    before = planned(early)

    assert early.refresh(trigger=Trigger.FORCED)["acct"].outcome == Outcome.NOT_SENT

    assert early.requests == []
    assert planned(early) == before


def test_one_that_is_due_has_its_turn_when_there_is_room_again(bench: Bench) -> None:
    due = bench.add(knobs='{"requests_per_s": 0.01}')
    bench.add("first", knobs='{"requests_per_s": 0.01}')
    bench.answer = granted
    bench.refresh("first")

    assert bench.refresh()["acct"].reason == WaitReason.SPENT

    plan_at, next_refresh_at = planned(bench)
    assert next_refresh_at == due.next_refresh_at
    assert plan_at is not None
    assert plan_at > bench.runtime.clock.now()
