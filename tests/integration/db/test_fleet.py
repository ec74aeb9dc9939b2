"""The fleet at a glance, on real stores: what is overdue, what fails, what a person holds."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from models.pause_scope import Scope
from models.rate_limit import WaitReason
from models.tables.audit import Actor
from tests.integration.conftest import Bench
from tests.integration.scheduling.test_planner import Planning
from worker.cli.status.paused import gate_lines, held_json, pause_lines
from worker.db.engine import is_sqlite, writing
from worker.db.fleet.counts import PausedDue, count, look, overdue
from worker.db.planning.held_accounts import Held
from worker.monitoring.gate_status import GateStatus
from worker.policy.gates import Gate

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
    assert 100 <= round(fleet.now - fleet.oldest_due_at) < 160
    assert fleet.set_aside == {"other": PausedDue(2, 1), "acme": PausedDue(1, 0)}
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
    fleet = look(bench.runtime.engine)
    held = held_json(bench.runtime.pauses.all(), fleet, None)
    assert (held["paused_waiting"], held["paused_ended"], held["gates"]) == (2, 1, None)
    assert (fleet.overdue, fleet.oldest_due_at) == (0, None)


def test_what_fails_is_grouped_by_provider_and_reason(bench: Bench) -> None:
    for number in range(3):
        bench.add(f"a{number}", status="reauthorize", reason="invalid_grant", next_refresh_at=None)
    bench.add("b", status="degraded", reason="timed_out", provider="other")
    bench.add("fine")
    assert list(look(bench.runtime.engine).failing.items()) == [
        (("acme", "reauthorize", "invalid_grant"), 3),
        (("other", "degraded", "timed_out"), 1),
    ]


@pytest.mark.parametrize(
    ("scope", "names", "late"), [(None, (), 3), (Scope.PROVIDER, ("other",), 1), (Scope.ALL, ("",), 0)]
)
def test_status_doctor_and_exporter_agree_on_what_is_overdue(
    bench: Bench, scope: Scope | None, names: tuple[str, ...], late: int
) -> None:
    for account, provider in (("a", "acme"), ("b", "other"), ("c", "other")):
        long_due(bench, account, 100, provider=provider)
    if scope is not None:
        pause(bench, scope, *names)
    if scope is Scope.PROVIDER:
        Planning(bench).planner.plan()
    engine = bench.runtime.engine
    with writing(engine) as connection:  # as if the plan's message of the account that is not paused was lost
        connection.execute(text("UPDATE account SET plan_at = next_refresh_at WHERE plan_at IS NOT NULL"))
    shown, exported, (checked, for_s) = look(engine), count(engine), overdue(engine)
    assert (shown.overdue, exported.overdue, checked) == (late, late, late)
    assert shown.late == exported.late
    assert (for_s >= 100) is (late > 0)


def test_a_closed_gate_is_named_with_whom_it_holds_and_who_is_next(bench: Bench) -> None:
    now = bench.runtime.clock.now()
    gate = Gate(
        cause=WaitReason.DOWN,
        reason="server_error",
        since=now - 60,
        by="acct-3",
        until=now + 5.4,
        last_failed="acct-3",
    )
    held = Held("https://idp.example", 12, 3, 8, now + 30, 2)
    status = GateStatus(name="https://idp.example", gate=gate, held=held, next_call="a", next_probe="b")

    assert [line.plain for line in gate_lines([status], now=now)] == [
        "gate closed     https://idp.example: it was down for several accounts (server_error) 1m ago, acct-3 last of them",
        (
            "  holds         12 accounts, 3 of them without a living token; a is called within a second or two, "
            "as its token ends soonest; b probes in 5s"
        ),
        (
            "  too many      2 healthy accounts end before their turn, at 5 calls a second: raise the provider's "
            "requests_per_s if it takes more"
        ),
    ]
    assert status.as_json()["closed_by"] == "acct-3"


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
