"""A plan that would find nothing is not made; whatever there is to do, one is made at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from models.pause_scope import Scope
from models.tables.audit import Actor
from tests.integration.conftest import Bench
from tests.integration.scheduling.test_planner import Planning
from tests.support.query_plans import recorded
from worker.db.engine import writing
from worker.policy.backlog import PLAN_LATE_S
from worker.scheduling.idle_check import WHOLE_EVERY_S, IdleCheck

FAR_S = 3_000.0  # seconds
MIA = Actor("mia", "desk-1")


def changed(sql: str) -> Callable[[Bench], object]:
    def change(bench: Bench) -> None:
        with writing(bench.runtime.engine) as connection:
            connection.execute(text(sql))

    return change


def paused(scope: Scope, name: str) -> Callable[[Bench], object]:
    return lambda bench: bench.runtime.pauses.pause(scope, [name], for_s=None, reason="", actor=MIA)


def redis(command: str, *arguments: str) -> Callable[[Bench], object]:
    def change(bench: Bench) -> Any:
        client: Any = bench.runtime.redis
        return client.execute_command(command, f"{bench.runtime.keys.prefix}filled", *arguments)

    return change


@pytest.fixture
def idle(bench: Bench) -> Bench:
    """A fleet of an account that is not due, which Redis has, and whose last plan was made a moment ago."""
    far = bench.runtime.clock.now() + FAR_S
    bench.add(expires_at=far, next_refresh_at=far, plan_at=far, published_generation=1)
    runtime = bench.runtime
    runtime.run(runtime.reconciler.reconcile())
    runtime.run(runtime.comparison.step())
    assert not runtime.run(runtime.comparison.needed())
    Planning(bench).planner.plan()
    assert not runtime.idle_check.is_idle(), "the first of a process is made"
    assert runtime.idle_check.is_idle()
    return bench


def test_an_idle_fleet_is_asked_by_one_statement(idle: Bench) -> None:
    with recorded() as statements:
        assert idle.runtime.idle_check.is_idle()
    assert len([sql for sql, _ in statements if not sql.startswith("BEGIN")]) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(changed("UPDATE account SET plan_at = 1"), id="due"),
        pytest.param(
            changed("UPDATE account SET plan_at = NULL, held_by = 'breaker:x'"), id="held by a gate"
        ),
        pytest.param(changed("UPDATE account SET published_generation = 0"), id="not published"),
        pytest.param(changed("UPDATE account SET published_generation = -2"), id="its state not published"),
        pytest.param(changed("UPDATE account SET expires_at = expires_at - 3001"), id="token ended"),
        pytest.param(paused(Scope.ALL, ""), id="everything paused"),
        pytest.param(paused(Scope.LABEL, "tenant=acme"), id="a label paused"),
        pytest.param(
            changed("UPDATE duty SET finished_at = finished_at - 5 WHERE name = 'plan'"), id="a while ago"
        ),
        pytest.param(
            changed("UPDATE duty SET finished_at = finished_at + 60 WHERE name = 'plan'"), id="clock set back"
        ),
        pytest.param(changed("DELETE FROM duty WHERE name = 'plan'"), id="never planned"),
        pytest.param(changed("UPDATE duty SET note = NULL WHERE name = 'reconcile'"), id="never filled"),
        pytest.param(redis("DEL"), id="Redis emptied"),
        pytest.param(redis("SET", "another"), id="another Redis"),
    ],
)
def test_what_there_is_to_do_is_seen(idle: Bench, change: Callable[[Bench], object]) -> None:
    change(idle)
    assert not idle.runtime.idle_check.is_idle()


def test_a_comparison_that_is_under_way_is_asked_by_each_plan() -> None:
    def never() -> Any:
        raise AssertionError("nobody is asked")

    check = IdleCheck(never, never, lambda: False)
    assert not check.is_idle()
    assert not check.is_idle()


def test_a_whole_plan_comes_before_anybody_takes_plans_for_late() -> None:
    assert 2 * WHOLE_EVERY_S < PLAN_LATE_S
