"""What befalls one account of a group, or one try, stays there: its neighbours are refreshed, and nothing is held by nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text

from models.rate_limit import Limits
from models.tables.attempt import Outcome
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from tests.support.waiting import wait_until
from worker.errors import DatabaseUnreachable
from worker.policy.reasons.waiting import DATABASE_UNREACHABLE
from worker.refresh import committer

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@on_postgresql
def test_a_row_that_somebody_keeps_locked_holds_up_no_other(bench: Bench) -> None:
    """An operator's open transaction has it; its answer is parked, and the account's next refresh adopts it."""
    accounts = ["healthy-1", "healthy-2", "locked", "healthy-3"]
    for account in accounts:
        bench.add(account)
    with bench.runtime.engine.connect() as operator:

        def answer(request: httpx.Request) -> httpx.Response:
            operator.execute(text("SELECT 1 FROM account WHERE id = 'locked' FOR UPDATE"))
            return granted(request)

        bench.answer = answer
        results = bench.refresh(*accounts)
        assert [results[one].outcome for one in accounts] == [
            *(Outcome.REFRESHED, Outcome.REFRESHED),
            *(Outcome.RETRY, Outcome.REFRESHED),
        ]
    keys = bench.runtime.keys
    assert bench.runtime.redis.exists(keys.stash("locked"), keys.lock("locked")) == 1
    with bench.runtime.engine.begin() as connection:
        connection.execute(text("UPDATE account SET claim_attempt = NULL, claim_until = NULL"))
    assert bench.refresh("locked")["locked"].outcome == Outcome.REFRESHED
    assert bench.refresh_token("locked") == "new-refresh"
    assert len(bench.requests) == len(accounts)


def test_a_key_that_redis_refuses_holds_up_no_other(bench: Bench) -> None:
    bench.add("bad")
    bench.add("good")
    bench.answer = granted
    bench.runtime.redis.hset(bench.runtime.keys.stash("bad"), "no", "text")
    results = bench.refresh("bad", "good")
    assert (results["bad"].outcome, results["good"].outcome) == (Outcome.BUSY, Outcome.REFRESHED)
    wait_until(
        lambda: not bench.runtime.redis.exists(bench.runtime.keys.lock("bad")), "its lease was returned"
    )


def test_a_lost_reply_leaves_no_lease_that_nobody_holds(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py sends a pipeline again whose replies did not come; Redis had carried it out."""
    bench.add()
    bench.answer = granted
    taking = bench.runtime.leases._acquire
    bench.runtime.redis.script_load(taking.script)
    lost: list[Any] = []
    usual = Pipeline._execute_pipeline

    async def loses_one(self: Pipeline, connection: Any, commands: Any, raise_on_error: Any) -> Any:
        replies = await usual(self, connection, commands, raise_on_error)
        if not lost and any(taking.sha in command[0] for command in commands):
            lost.append(replies)
            raise RedisConnectionError("Connection closed by server.")
        return replies

    monkeypatch.setattr(Pipeline, "_execute_pipeline", loses_one)

    assert bench.refresh()["acct"].outcome == Outcome.REFRESHED
    assert lost


def test_a_database_that_was_away_costs_no_room_at_the_provider(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add()
    bench.answer = granted
    store = bench.runtime.store
    usual = store.open

    async def is_away(*_: Any, **__: Any) -> Any:
        raise DatabaseUnreachable("away")

    monkeypatch.setattr(store, "open", is_away)
    monkeypatch.setattr(bench.runtime.admission, "_limits", lambda _: Limits(None, 1))
    assert bench.refresh()["acct"].reason == DATABASE_UNREACHABLE

    monkeypatch.setattr(store, "open", usual)
    wait_until(lambda: bench.refresh()["acct"].outcome == Outcome.REFRESHED, "a call is admitted")


def test_an_answer_that_comes_while_a_commit_hangs_is_put_aside_as_well(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "COMMIT_PATIENCE_S", 0.05)
    bench.add("first")
    bench.add("second")
    bench.answer = granted
    store, goes_on = bench.runtime.store, asyncio.Event()
    close = store.close

    async def waits(*arguments: Any) -> Any:
        await goes_on.wait()
        return await close(*arguments)

    monkeypatch.setattr(store, "close", waits)
    bench.refresh("first")

    assert bench.refresh("second")["second"].outcome == Outcome.RETRY

    assert bench.runtime.redis.exists(bench.runtime.keys.stash("second"))
    bench.runtime.loop.call_soon_threadsafe(goes_on.set)
    wait_until(lambda: bench.account("second").generation == 2, "the commit")


def test_a_failure_that_the_database_does_not_take_holds_up_no_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add()
    bench.answer = lambda _: httpx.Response(500)
    store = bench.runtime.store

    async def is_away(*_: Any) -> Any:
        raise DatabaseUnreachable("away")

    monkeypatch.setattr(store, "close", is_away)
    refreshing = bench.begin_refresh()
    wait_until(lambda: bool(bench.requests), "the call")
    monkeypatch.setattr(committer, "is_ending", lambda: True)

    assert refreshing.result()["acct"].reason == DATABASE_UNREACHABLE
    bench.runtime.run(asyncio.wait_for(bench.runtime.refresher.drain(), 20))
    bench.runtime.run(asyncio.wait_for(bench.runtime.committer.drain(), 20))
