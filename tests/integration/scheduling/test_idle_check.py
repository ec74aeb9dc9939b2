"""A plan that would find nothing is not made; whatever there is to do, one is made at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from models.pause_scope import Scope
from models.rate_limit import Limits
from models.tables.audit import Actor
from tests.integration.conftest import Bench
from tests.integration.scheduling.test_planner import Planning
from tests.support.query_plans import recorded
from worker.db.engine import writing
from worker.db.planning.glance import Glance
from worker.policy.backlog import PLAN_LATE_S
from worker.scheduling.idle_check import WHOLE_EVERY_S, IdleCheck
from worker.scheduling.load_smoothing import LoadSmoothing, is_crowded

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
    def never(*_: object) -> Any:
        raise AssertionError("nobody is asked")

    check = IdleCheck(glance=never, filled=never, crowded=never, compared=lambda: False)
    assert not check.is_idle()
    assert not check.is_idle()


def test_a_whole_plan_comes_before_anybody_takes_plans_for_late() -> None:
    assert 2 * WHOLE_EVERY_S < PLAN_LATE_S


def test_a_fleet_that_works_ahead_of_a_rate_is_not_idle(idle: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    note = '{"all_at": 1, "near_at": 1, "crowds": {"google": {"60.0": 100}}}'
    with writing(idle.runtime.engine) as connection:
        connection.execute(text("UPDATE duty SET note = :note WHERE name = 'plan'"), {"note": note})
    assert idle.runtime.idle_check.is_idle(), "no rate is set"
    slow = idle.runtime.settings.model_copy(update={"requests_per_s": 1.0})
    monkeypatch.setattr(idle.runtime, "settings", slow)
    assert not idle.runtime.idle_check.is_idle()


@pytest.mark.parametrize(
    ("rate", "takes_early", "idle"),
    [(1.0, True, False), (1.0, False, True), (None, True, True), (1e6, True, True)],
)
def test_a_crowd_that_is_begun_early_is_begun_by_each_plan(
    bench: Bench, rate: float | None, takes_early: bool, idle: bool
) -> None:
    """None is due: they come due faster than their provider takes them."""
    now = bench.runtime.clock.now()
    for number in range(100):
        bench.add(
            f"cliff-{number}",
            token_url=None,
            expires_at=now + 900,
            next_refresh_at=now + 50,
            plan_at=now + 50,
        )
    outlook = replace(bench.runtime.schedule.outlook("plan"), note=None)
    smoothing = LoadSmoothing(bench.runtime.schedule, lambda _: True)
    smoothing.look(outlook)
    seen = Glance(1.0, smoothing.note, "mark", work=False)
    check = IdleCheck(
        glance=lambda: seen,
        filled=lambda: "mark",
        crowded=partial(is_crowded, limits=lambda _: Limits(rate, 1000, takes_early), interval_s=1.0),
        compared=lambda: True,
    )
    assert not check.is_idle()
    assert check.is_idle() is idle
