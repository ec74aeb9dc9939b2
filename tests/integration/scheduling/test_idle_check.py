"""A plan that would find nothing is not made; where there is anything to do, it is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from models.pause_scope import Scope
from models.rate_limit import Limits
from models.tables.audit import Actor
from tests.integration.conftest import Bench
from tests.integration.scheduling.test_planner import Planning
from tests.support.forked import ran
from tests.support.query_plans import recorded
from worker.db.engine import writing
from worker.db.planning.glance import Glance
from worker.policy.backlog import PLAN_LATE_S
from worker.scheduling.idle_check import WHOLE_EVERY_S, IdleCheck
from worker.scheduling.load_smoothing import works_ahead

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


def test_an_idle_fleet_is_asked_by_one_statement_and_one_get(idle: Bench) -> None:
    client: Any = idle.runtime.redis
    gets = client.info("commandstats").get("cmdstat_get", {"calls": 0})["calls"]
    with recorded() as statements:
        assert idle.runtime.idle_check.is_idle()
    assert len([sql for sql, _ in statements if not sql.startswith("BEGIN")]) == 1
    assert client.info("commandstats")["cmdstat_get"]["calls"] == gets + 1


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
    assert idle.runtime.idle_check.is_idle(), "a moment ago"
    change(idle)
    assert not idle.runtime.idle_check.is_idle()


#: What three plans of a process return, when the last whole one ended after each, and what they sent.
PLANS = """
import json
from sqlalchemy import text
from tasks.plan import app, plan
from worker.db.engine import reading, writing
from worker.runtime import runtime
import worker.scheduling.comparison as comparison

sent, told = [], []
app.send_task = lambda name, **_: sent.append(name)

def tell():
    done = plan.run()
    with reading(runtime().engine) as connection:
        at = connection.execute(text("SELECT finished_at FROM duty WHERE name = 'plan'")).scalar_one()
    told.append([done["planned"], at, sent.copy()])
    sent.clear()

tell()
tell()
with writing(runtime().engine) as connection:
    connection.execute(text("UPDATE account SET plan_at = 1"))
tell()
with writing(runtime().engine) as connection:
    connection.execute(text("UPDATE duty SET note = '{}', finished_at = 1 WHERE name = 'comparison'"))
comparison.LOOK_EVERY_S = 0.0
tell()
print(json.dumps(told))
"""


def test_the_task_makes_a_plan_where_there_is_one_to_make(idle: Bench, tmp_path: Path) -> None:
    settings = idle.runtime.settings
    environment = {
        **os.environ,
        "REFRESHD_DATABASE_URL": settings.database,
        "REFRESHD_REDIS_URL": settings.redis,
        "REFRESHD_KEYS": settings.keys.get_secret_value() if settings.keys else "",
        "REFRESHD_DATA_DIR": str(tmp_path),
    }
    done = ran(["-c", PLANS], cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    first, calm, due, compared = json.loads(done.stdout.splitlines()[-1])
    assert first[0] == calm[0] == 0
    assert calm[1:] == [first[1], []], "no whole plan"
    assert due[0] == 1
    assert due[1] > first[1]
    assert due[2] == ["refreshd.refresh"]
    assert compared[2] == ["refreshd.reconcile"]


def test_workers_that_take_turns_make_one_whole_plan_for_all() -> None:
    checks = [
        IdleCheck(
            glance=lambda: Glance(0.0, 1.0, None, "mark", work=False),
            filled=lambda: "mark",
            works_ahead=lambda _: False,
            interval_s=1.0,
        )
        for _ in range(9)
    ]
    assert [check.is_idle() for check in checks] == [False] * 9, "the first of each"
    assert [check.is_idle() for check in checks] == [True] * 9


@pytest.mark.parametrize(
    ("ago_s", "interval_s", "idle"),
    [(3.9, 1.0, True), (4.0, 1.0, False), (0.1, 5.0, False), (4.7, 0.2, True)],
)
def test_the_last_whole_plan_gets_no_older_than_is_said(ago_s: float, interval_s: float, idle: bool) -> None:
    check = IdleCheck(
        glance=lambda: Glance(0.0, ago_s, None, "mark", work=False),
        filled=lambda: "mark",
        works_ahead=lambda _: False,
        interval_s=interval_s,
    )
    check.is_idle()
    assert check.is_idle() is idle


def test_nobody_takes_plans_for_late_meanwhile() -> None:
    assert 2 * WHOLE_EVERY_S < PLAN_LATE_S


def test_a_fleet_that_works_ahead_of_a_rate_is_not_idle(idle: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = idle.runtime.clock.now()
    note = json.dumps({"all_at": now, "near_at": now, "crowds": {"google": {"60.0": 100}}})
    with writing(idle.runtime.engine) as connection:
        connection.execute(text("UPDATE duty SET note = :note WHERE name = 'plan'"), {"note": note})
    assert idle.runtime.idle_check.is_idle(), "no rate is set"
    slow = idle.runtime.settings.model_copy(update={"requests_per_s": 1.0})
    monkeypatch.setattr(idle.runtime, "settings", slow)
    assert not idle.runtime.idle_check.is_idle()


CROWD = {"google": {"60.0": 100}}


@pytest.mark.parametrize(
    ("limits", "known", "ahead"),
    [
        pytest.param(Limits(1.0, 9), {"crowds": CROWD}, True, id="more than it takes"),
        pytest.param(Limits(1e6, 9), {"crowds": CROWD}, False, id="no more than it takes"),
        pytest.param(Limits(None, 9), {"crowds": CROWD}, False, id="it has no rate"),
        pytest.param(Limits(1.0, 9, takes_early=False), {"crowds": CROWD}, False, id="it takes none early"),
        pytest.param(Limits(1.0, 9), {"crowds": {}}, False, id="nobody"),
        pytest.param(Limits(1.0, 9), {"crowds": {}, "near_at": 90.0}, True, id="to be counted anew"),
        pytest.param(Limits(1.0, 9), {"crowds": {}, "all_at": 40.0}, True, id="all to be counted anew"),
        pytest.param(
            Limits(1.0, 9), {"crowds": {}, "near_at": 101.0}, True, id="counted before a clock was set back"
        ),
    ],
)
def test_what_is_begun_before_it_is_due_is_begun_by_each_plan(
    limits: Limits, known: dict[str, Any], ahead: bool
) -> None:
    note = json.dumps({"all_at": 99.0, "near_at": 99.0} | known)
    assert works_ahead(note, lambda _: limits, now=100.0, interval_s=1.0) is ahead


def test_where_nothing_was_noted_all_are_counted() -> None:
    assert works_ahead(None, lambda _: Limits(1.0, 9), now=100.0, interval_s=1.0)
