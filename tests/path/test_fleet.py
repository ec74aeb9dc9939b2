"""The fleet at a glance, on real stores: what is overdue, what fails, what a person holds."""

from __future__ import annotations

from sqlalchemy import text

from models.audit import Actor
from models.pause import Scope
from tests.path.conftest import Bench
from tests.path.test_plan import Planning
from worker.cli.status_held import budget_lines, held_json, pause_lines
from worker.io.database import is_sqlite, writing
from worker.io.fleet import Aside, Failing, look
from worker.io.traffic import Spending, look_at_budgets

MIA = Actor("mia", "desk-1")


def pause(bench: Bench, scope: Scope, *names: str) -> None:
    bench.runtime.pauses.pause(scope, names, for_s=None, reason="an outage", actor=MIA)


def long_due(bench: Bench, account: str, seconds: float, **fields: object) -> None:
    at = bench.runtime.clock.now() - seconds
    bench.add(account, next_refresh_at=at, plan_at=at, **fields)


def test_what_is_paused_is_not_overdue_and_its_dead_tokens_are_counted(bench: Bench) -> None:
    now = bench.runtime.clock.now()
    long_due(bench, "late", 100)
    long_due(bench, "held-single", 500)
    long_due(bench, "held-1", 300, provider="other", expires_at=now - 1)
    long_due(bench, "held-2", 300, provider="other")
    pause(bench, Scope.PROVIDER, "other")
    pause(bench, Scope.ACCOUNT, "held-single")
    Planning(bench).planner.plan()

    fleet = look(bench.runtime.engine)

    assert (fleet.overdue, fleet.behind) == (1, (("acme", 1),))
    assert fleet.oldest_due_at is not None
    assert round(fleet.now - fleet.oldest_due_at) in {100, 101, 102}
    assert fleet.aside == (Aside("other", 2, 1), Aside("acme", 1, 0))
    pauses = bench.runtime.pauses.all()
    words = [line.plain for line in pause_lines(pauses, fleet)]
    assert words[0].startswith("paused          provider other since ")
    assert words[0].endswith("by mia@desk-1: an outage")
    assert words[-1] == "  held          3 due accounts wait, 1 of their tokens have ended"


def test_where_everything_is_paused_every_due_account_waits(bench: Bench) -> None:
    now = bench.runtime.clock.now()
    long_due(bench, "a", 100, expires_at=now - 1)
    long_due(bench, "b", 100)
    pause(bench, Scope.ALL, "")
    fleet = look(bench.runtime.engine, all_paused=True)
    held = held_json(bench.runtime.pauses.all(), fleet, None, lambda _: bench.runtime.limits(None))
    assert (held["paused_waiting"], held["paused_ended"], held["budgets"]) == (2, 1, None)


def test_what_fails_is_grouped_by_provider_and_reason(bench: Bench) -> None:
    for number in range(3):
        bench.add(f"a{number}", status="reauthorize", reason="invalid_grant", next_refresh_at=None)
    bench.add("b", status="degraded", reason="timed_out", provider="other")
    bench.add("fine")
    assert look(bench.runtime.engine).failing == (
        Failing("acme", "reauthorize", "invalid_grant", 3),
        Failing("other", "degraded", "timed_out", 1),
    )


def test_budgets_in_use_and_left_alone_are_named(bench: Bench) -> None:
    here = bench.runtime

    async def use() -> None:
        await here.budgets.take("acme", ["attempt"], here.limits(None))
        await here.budgets.pause("other", 90)
        for _ in range(10):
            await here.budgets.down("third")

    here.run(use())
    found = look_at_budgets(here.redis, here.settings.redis_prefix, ["acme", "other", "third", "idle"])

    assert [(one.name, one.in_flight) for one in found] == [("acme", 1), ("other", 0), ("third", 0)]
    assert found[1].paused_s is not None
    assert 80 < found[1].paused_s <= 90
    assert found[2].breaker_open_s is not None
    assert [
        line.plain for line in budget_lines([Spending("x", 3, None, 5.0)], lambda _: here.limits(None))
    ] == [
        "breaker open    x: it was found down; a probe in 5s",
        "calls           x 3 of 1,000 at once",
    ]


def test_a_look_reads_indexes_and_not_the_table(bench: Bench) -> None:
    """Counts come from indexes that hold all that they need: no row of an account is read for them."""
    engine = bench.runtime.engine
    statements = {
        "SELECT provider, status, count(*) FROM account GROUP BY status, provider": "ix_account_status_provider",
        "SELECT provider, count(*), min(next_refresh_at) FROM account WHERE next_refresh_at < 9 GROUP BY provider": (
            "ix_account_due"
        ),
        "SELECT provider, status, coalesce(reason, ''), count(*) FROM account WHERE status IN "
        "('degraded', 'reauthorize', 'misconfigured') GROUP BY status, provider, reason": "ix_account_failing",
        "SELECT provider, count(*), sum(expires_at) FROM account WHERE plan_at IS NULL AND next_refresh_at IS NOT NULL "
        "GROUP BY provider": "ix_account_aside",
    }
    with writing(engine) as connection:
        if not is_sqlite(engine):
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        explain = "EXPLAIN QUERY PLAN " if is_sqlite(engine) else "EXPLAIN "
        for sql, index in statements.items():
            plan = str(connection.execute(text(explain + sql)).all())
            assert index in plan, plan
            # SQLite reads the rows of a partial index whose condition names a column that it does not hold.
            covered = index == "ix_account_aside" or "COVERING INDEX" in plan
            assert covered if is_sqlite(engine) else "Index Only Scan" in plan, plan
