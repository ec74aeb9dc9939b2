"""Degraded begins as a token ends, whatever the account waits for; on real stores."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import event, text

from models.pause_scope import Scope
from models.tables.account import TOKEN_ENDED
from refreshd_reader.contract import PAUSED
from tests.integration.conftest import Bench, Handler
from tests.integration.refresh.test_late_answers import while_called
from tests.integration.refresh.test_refresher import granted
from tests.integration.scheduling.test_pauses import pause
from worker.db.engine import is_sqlite, writing
from worker.db.planning.ended_tokens import EndedTokens


def sweep(bench: Bench) -> int:
    return bench.runtime.run(bench.runtime.token_ends.sweep())


def ended(bench: Bench, account_id: str = "acct", *, ago_s: float = 5.0, **fields: Any) -> None:
    bench.add(account_id, expires_at=bench.runtime.clock.now() - ago_s, **fields)


def status_of(bench: Bench, account_id: str = "acct") -> tuple[str, str | None]:
    account, state = bench.account(account_id), bench.state(account_id)
    assert state is not None
    assert (state.status, state.reason) == (account.status, account.reason)
    return account.status, account.reason


def test_an_account_is_degraded_in_the_database_in_redis_and_as_an_event_once(bench: Bench) -> None:
    ended(bench)
    bench.add("alive")

    assert [sweep(bench), sweep(bench)] == [1, 0]
    assert status_of(bench) == ("degraded", TOKEN_ENDED)
    assert bench.events() == [("degraded", TOKEN_ENDED)]
    assert bench.account().published_generation == 1
    assert bench.account("alive").status == "active"


@pytest.mark.parametrize(
    "fields",
    [
        {"plan_at": 9e9},  # a message on its way, a budget, a gate: planned later
        {"plan_at": None},  # set aside by a pause
        {"claim_attempt": "a", "claim_until": 9e9},  # a call that hangs
    ],
)
def test_it_is_whatever_the_account_waits_for(bench: Bench, fields: dict[str, Any]) -> None:
    ended(bench, **fields)
    assert sweep(bench) == 1
    assert status_of(bench)[0] == "degraded"


def test_the_reason_is_what_the_account_waits_for(bench: Bench) -> None:
    ended(bench, "throttled", reason="rate_limited")
    ended(bench, "held", provider="other", reason="rate_limited")
    pause(bench, Scope.PROVIDER, "other")
    sweep(bench)
    assert status_of(bench, "throttled") == ("degraded", "rate_limited")
    assert status_of(bench, "held") == ("degraded", PAUSED)


@pytest.mark.parametrize(
    "fields",
    [
        {"next_refresh_at": None, "plan_at": None},  # session management `none`
        {"status": "disabled", "refresh_enabled": False, "next_refresh_at": None, "plan_at": None},
        {"status": "reauthorize", "reason": "invalid_grant", "next_refresh_at": None, "plan_at": None},
        {"status": "misconfigured", "reason": "invalid_client"},
        {"status": "degraded", "reason": "server_error"},
    ],
)
def test_what_is_not_refreshed_or_was_told_already_stays_as_it_is(
    bench: Bench, fields: dict[str, Any]
) -> None:
    ended(bench, **fields)
    assert sweep(bench) == 0
    assert bench.events() == []


def test_a_plan_leaves_what_ended_long_ago_to_the_reconcile(bench: Bench) -> None:
    ended(bench, ago_s=3600.0)
    assert sweep(bench) == 0
    done = bench.runtime.run(bench.runtime.reconciler.reconcile())
    assert done is not None
    assert done.ended == 1
    assert status_of(bench) == ("degraded", TOKEN_ENDED)


def test_the_reconcile_goes_through_all_of_them_in_batches(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.scheduling.reconciler.BATCH", 2)
    at = bench.runtime.clock.now() - 3600
    for number in range(5):  # four of them ended at one moment
        bench.add(f"acct-{number}", expires_at=at + max(number - 3, 0))
    done = bench.runtime.run(bench.runtime.reconciler.reconcile())
    assert done is not None
    assert done.ended == 5


def ends_under_way(bench: Bench, answer: Handler) -> list[tuple[str, str]]:
    """Have an account be marked degraded during its call, which loaded it while it was active; returns the events."""
    ended(bench, ago_s=30.0)
    while_called(bench, lambda: assert_marked(EndedTokens(bench.runtime.engine)), answer)
    bench.refresh()
    return bench.events()


def assert_marked(tokens: EndedTokens) -> None:
    assert [one.id for one in tokens.mark(10).accounts] == ["acct"]


def test_a_call_that_succeeds_after_the_end_was_told_is_a_recovery(bench: Bench) -> None:
    assert ends_under_way(bench, granted) == [("refreshed", "refreshed"), ("recovered", "refreshed")]
    assert bench.account().status == "active"


def test_a_call_that_fails_after_the_end_was_told_does_not_tell_it_again(bench: Bench) -> None:
    assert ends_under_way(bench, lambda _: httpx.Response(500)) == [("failed", "server_error")]
    assert bench.account().status == "degraded"


def test_a_token_that_came_meanwhile_is_not_called_ended(bench: Bench) -> None:
    ended(bench)
    bench.answer = granted
    bench.refresh()
    assert sweep(bench) == 0
    assert bench.account().status == "active"


@pytest.mark.parametrize("status", [500, 429])
def test_an_account_that_never_had_a_token_and_fails_is_not_active(bench: Bench, status: int) -> None:
    bench.add(access_token_sealed=None, expires_at=None, issued_at=None, generation=0)
    assert bench.account().status == "active"
    bench.answer = lambda _: httpx.Response(status)
    bench.refresh(seen=0)
    assert status_of(bench)[0] == "degraded"


def test_the_look_of_each_plan_is_answered_by_an_index(bench: Bench) -> None:
    """A fleet of a million has few tokens that ended lately: nothing else is read."""
    engine = bench.runtime.engine
    seen: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", keep)
    EndedTokens(engine).mark(10)
    event.remove(engine, "before_cursor_execute", keep)
    statement, parameters = next(one for one in seen if "UPDATE account" in one[0])
    explain = "EXPLAIN QUERY PLAN " if is_sqlite(engine) else "EXPLAIN "
    with writing(engine) as connection:
        if not is_sqlite(engine):
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = str(connection.exec_driver_sql(explain + statement, parameters).all())
    assert "ix_account_expires_at" in plan
    assert "SCAN account" not in plan
    assert "Seq Scan on account" not in plan
