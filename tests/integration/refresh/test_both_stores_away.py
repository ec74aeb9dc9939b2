"""Neither store takes an answer: it stays in memory, and nobody else waits for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import structlog
from structlog.typing import EventDict

from models.answer import Answer
from models.refresh_request import RefreshRequest
from models.tables.account import RefreshMethod
from models.tables.attempt import Outcome, Trigger
from models.token import Secret, TokenResponse
from tests.integration.conftest import Bench
from tests.integration.refresh.test_unforeseen import unique
from tests.support.waiting import PATIENCE_S, wait_until
from worker.policy.reasons.done import STASH_ADOPTED


@contextmanager
def redis_in_the_end(bench: Bench) -> Iterator[None]:
    """Have Redis take writes again, whatever happens here."""
    try:
        yield
    finally:
        bench.runtime.redis.config_set("maxmemory", 0)


def redis_refuses(bench: Bench) -> None:
    """Have Redis take no more writes: it has no memory left."""
    bench.runtime.redis.config_set("maxmemory", 1)


def said(logs: list[EventDict], event: str) -> bool:
    return any(line["event"] == event for line in logs)


def test_an_answer_that_neither_store_takes_stays_in_memory(bench: Bench) -> None:
    bench.add("other", scope="taken")
    bench.add("neighbour", refresh_token="neighbours")
    bench.add()

    def scoped(request: httpx.Request) -> httpx.Response:
        redis_refuses(bench)
        scope = "own" if b"neighbours" in request.content else "taken"
        token = {"access_token": "new-access", "refresh_token": f"new-{scope}", "scope": scope}
        return httpx.Response(200, json=token)

    bench.answer = scoped
    with (
        structlog.testing.capture_logs() as logs,
        unique(bench, "account", "scope"),
        redis_in_the_end(bench),
    ):
        refreshing = bench.begin_refresh("acct", "neighbour")
        wait_until(lambda: said(logs, "pending_answers_in_memory"), "both stores refused it")
        wait_until(lambda: bench.account("neighbour").generation == 2, "the neighbour's answer is stored")
        bench.runtime.redis.config_set("maxmemory", 0)
        results = refreshing.result(PATIENCE_S)

    assert (results["acct"].outcome, results["neighbour"].outcome) == (Outcome.RETRY, Outcome.REFRESHED)
    assert bench.refresh(trigger=Trigger.FORCED)["acct"].reason == STASH_ADOPTED
    assert bench.refresh_token() == "new-taken"


class Rotating:
    """A callback that brings a new refresh token, at the moment that both stores go away."""

    def __init__(self, bench: Bench, database: Path) -> None:
        self._bench = bench
        self._database = database
        self._elsewhere = database.with_name("elsewhere.db")
        self._away = database.with_name("away.db")

    async def call(
        self, request: RefreshRequest, *, deadline: float, on_send: Callable[[], None] | None = None
    ) -> Answer:
        assert (request.account_id, deadline > 0, on_send is None) == ("acct", True, False)
        redis_refuses(self._bench)
        self._bench.runtime.engine.dispose()
        # At one stroke: a file that is missing for a moment is made anew, without tables, by whoever connects then.
        os.link(self._database, self._elsewhere)
        self._away.symlink_to(self._database.parent, target_is_directory=True)
        self._away.replace(self._database)
        return Answer(token=TokenResponse(Secret("tested"), refresh_token=Secret("rotated")))

    def database_is_back(self) -> None:
        self._elsewhere.replace(self._database)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_refresh_token_that_a_test_brought_outlives_both_stores(bench: Bench, tmp_path: Path) -> None:
    caller = Rotating(bench, tmp_path / "refreshd.db")
    bench.runtime.callers[RefreshMethod.CALLBACK] = caller
    bench.add()
    with structlog.testing.capture_logs() as logs, redis_in_the_end(bench):
        testing = bench.begin_refresh(trigger=Trigger.TEST)
        wait_until(lambda: said(logs, "pending_answers_in_memory"), "neither store took it")
        bench.runtime.redis.config_set("maxmemory", 0)
        stash = bench.runtime.keys.stash("acct")
        wait_until(lambda: bool(bench.runtime.redis.exists(stash)), "it is put aside")
    caller.database_is_back()
    testing.result(PATIENCE_S)

    assert bench.refresh()["acct"].reason == STASH_ADOPTED
    assert bench.refresh_token() == "rotated"
