"""Neither store takes an answer: it stays in memory, and nobody else waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import structlog
from structlog.typing import EventDict

from models.attempt import Outcome
from tests.acceptance.waiting import PATIENCE_S, wait_until
from tests.path.conftest import Bench
from tests.path.test_unforeseen import let_claims_end, unique
from worker.closing import STASH_ADOPTED


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
        wait_until(lambda: said(logs, "answers_in_memory_only"), "both stores refused it")
        wait_until(lambda: bench.account("neighbour").generation == 2, "the neighbour's answer is stored")
        bench.runtime.redis.config_set("maxmemory", 0)
        results = refreshing.result(PATIENCE_S)

    assert (results["acct"].outcome, results["neighbour"].outcome) == (Outcome.RETRY, Outcome.REFRESHED)
    let_claims_end(bench)
    assert bench.refresh()["acct"].reason == STASH_ADOPTED
    assert bench.refresh_token() == "new-taken"
