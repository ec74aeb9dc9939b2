"""`explain` on real stores: what it says of a token that is not there, or not shown to be good, is true."""

from __future__ import annotations

import time

import pytest

from models.tables.attempt import Trigger
from refreshd_reader import Reader, UnknownAccount
from refreshd_reader.contract import Keys
from tests.integration.diagnostics.explain.desk import AccountServices, answer
from tests.integration.refresh.test_refresher import granted
from worker.redis.clock_offsets import ClockOffsets

NOTHING_WRONG = "Nothing is wrong that refreshd can see"


def good_page(desk: AccountServices) -> str:
    """Return the page of an account of which nothing is wrong."""
    cause, shown = desk.first()
    assert cause == "", shown
    return shown


def test_an_imported_token_that_is_dead_may_be_mended_by_a_refresh(desk: AccountServices) -> None:
    desk.bench.add(next_refresh_at=time.time() + 30, plan_at=time.time() + 30, issued_at=time.time() - 30)
    desk.bench.runtime.run(desk.bench.runtime.reconciler.reconcile())
    cause, shown = desk.first()
    assert cause == "token_untried", shown
    assert NOTHING_WRONG not in shown
    assert "a refresh is what helps" in shown
    assert "`refreshd refresh acct --force --wait` finds out" in shown
    assert "which no refresh mends" not in shown
    desk.bench.answer = granted
    desk.bench.refresh(seen=1, trigger=Trigger.FORCED)
    assert "which no refresh mends" in good_page(desk)


def test_a_numbered_item_never_stands_under_a_clean_heading(desk: AccountServices) -> None:
    desk.bench.add(scope="read write")
    desk.bench.answer = answer(200, {"access_token": "new", "expires_in": 3600, "scope": "read"})
    desk.bench.refresh()
    cause, shown = desk.first()
    assert cause == "scopes_lost"
    assert "Worth knowing\n  1. A refresh lost these scopes: write." in shown
    assert NOTHING_WRONG not in shown


def test_a_429_that_asks_for_hours_is_told_as_what_keeps_the_token_away(desk: AccountServices) -> None:
    desk.bench.add(expires_at=time.time() + 1, next_refresh_at=time.time() - 1)
    desk.bench.answer = answer(429, {}, headers={"Retry-After": "7200"})
    desk.bench.refresh()
    desk.execute("UPDATE account SET expires_at = expires_at - 2280")
    cause, shown = desk.first()
    assert cause == "rate_limited"
    assert "What is wrong\n  1. The provider asked to be left alone" in shown, (
        "the gate is no finding of its own"
    )
    assert "Readers have no token: the last one ended 3" in shown
    assert "The next try is due in 2h" in shown


def test_a_worker_s_clock_is_read_from_what_it_said_itself(
    desk: AccountServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.good()
    monkeypatch.setattr("worker.redis.clock_offsets.wall_clock", lambda: time.time() + 480)
    ClockOffsets(desk.bench.runtime.redis, desk.settings.redis_prefix).note("worker@one")
    cause, shown = desk.first()
    assert cause == "worker_clock_skew"
    assert "Worth knowing" in shown
    assert "The clock of worker@one is 8m ahead of Redis'" in shown


def test_a_key_that_redis_lost_is_not_promised_back_within_seconds(desk: AccountServices) -> None:
    desk.good()
    desk.execute("UPDATE account SET published_generation = generation")  # as the next commit notes it
    desk.bench.runtime.redis.delete(Keys().token("acct"))
    cause, shown = desk.first()
    assert cause == "not_published"
    assert "Redis has lost it since" in shown
    assert "seconds" not in shown


def test_the_command_for_connectors_shows_no_token_and_swallows_no_error(desk: AccountServices) -> None:
    desk.good()
    shown = good_page(desk)
    assert "2>&1 | grep -A1 -E '^generation$|^(AUTH failed|Could not|NOAUTH|NOPERM|WRONGPASS|ERR) '" in shown
    assert "`redis://default:PASSWORD@HOST`" in shown


def test_a_reader_that_looks_elsewhere_is_told_that_it_may_be_one(
    desk: AccountServices, redis_url: str
) -> None:
    desk.good()
    with (
        Reader.from_url(redis_url, prefix="other:") as reader,
        pytest.raises(UnknownAccount, match="another Redis, database or"),
    ):
        reader.get("acct")
