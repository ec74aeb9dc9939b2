"""What nobody foresaw: it ends one attempt, holds no account, and no neighbour notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import text

from models.answer import Answer
from models.refresh_request import RefreshRequest
from models.tables.account import RefreshMethod, Status
from models.tables.attempt import Attempt, Outcome, Trigger
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from worker.db.engine import writing
from worker.policy.reasons.done import STASH_ADOPTED
from worker.refresh import outcome, refresher


class Broken:
    """A caller with a bug of ours."""

    def __init__(self, *, sends: bool) -> None:
        self._sends = sends

    async def call(
        self, request: RefreshRequest, *, deadline: float, on_send: Callable[[], None] | None = None
    ) -> Answer:
        if self._sends and on_send is not None:
            on_send()
        raise LookupError(f"nobody thought of {request.account_id} by {deadline}")


@contextmanager
def unique(bench: Bench, table: str, column: str) -> Iterator[None]:
    """Have the database refuse a second row of the same value."""
    with writing(bench.runtime.engine) as connection:
        connection.execute(text(f"CREATE UNIQUE INDEX refuses ON {table} ({column})"))
    yield
    with writing(bench.runtime.engine) as connection:
        connection.execute(text("DROP INDEX refuses"))


def is_held(bench: Bench, account_id: str = "acct") -> bool:
    return bool(bench.runtime.redis.exists(bench.runtime.keys.lock(account_id)))


def let_claims_end(bench: Bench) -> None:
    with writing(bench.runtime.engine) as connection:
        connection.execute(text("UPDATE account SET claim_until = 1, plan_at = 1"))


def latest(bench: Bench, account_id: str = "acct") -> Attempt:
    (attempt,) = bench.runtime.history.of(account_id, limit=1)
    return attempt


@pytest.mark.parametrize("sends", [True, False])
def test_a_call_that_raises_is_a_failure_that_is_tried_again(bench: Bench, sends: bool) -> None:
    bench.add()
    bench.add("neighbour", refresh_method=RefreshMethod.URL_QUERY, refresh_token="neighbours")
    bench.runtime.callers[RefreshMethod.BODY] = Broken(sends=sends)
    bench.answer = granted

    results = bench.refresh("acct", "neighbour")

    assert (results["acct"].outcome, results["acct"].reason) == (Outcome.RETRY, "internal_error")
    assert results["neighbour"].outcome == Outcome.REFRESHED
    row = bench.account()
    assert (row.status, row.generation, row.claim_attempt, row.failures) == (Status.ACTIVE, 1, None, 1)
    assert row.plan_at is not None
    attempt = latest(bench)
    assert (attempt.outcome, attempt.reason, attempt.error_description) == (
        Outcome.RETRY,
        "internal_error",
        "LookupError",
    )
    assert not is_held(bench)


@pytest.mark.parametrize(
    ("trigger", "step"),
    [
        (Trigger.FORCED, "merge"),
        (Trigger.FORCED, "due"),
        (Trigger.TEST, "merge"),
        (Trigger.TEST, "due"),
        (Trigger.TEST, "fingerprint"),
    ],
)
def test_a_new_refresh_token_outlives_what_broke_off_after_its_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, trigger: Trigger, step: str
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError("nobody thought of it")

    bench.add(extra='{"site": "eu"}')
    bench.answer = granted
    bench.runtime.callers[RefreshMethod.CALLBACK] = bench.runtime.callers[RefreshMethod.BODY]  # a test's
    with monkeypatch.context() as patch:
        patch.setattr(outcome, step, broken)
        result = bench.refresh(trigger=trigger)["acct"]

    assert (result.outcome, result.reason) == (Outcome.RETRY, "internal_error")
    assert not is_held(bench)
    before = bench.account()
    assert (before.generation, before.claim_attempt) == (1, None)
    assert bench.runtime.redis.exists(bench.runtime.keys.stash("acct"))

    bench.answer = lambda _: httpx.Response(503)
    bench.refresh(trigger=Trigger.FORCED)
    row = bench.account()
    assert (row.generation, row.expires_at, row.extra) == (2, before.expires_at, before.extra)
    assert bench.refresh_token() == "new-refresh"
    assert len(bench.requests) == 1, "the spent token was not sent again"


def test_a_row_that_nobody_can_read_keeps_its_new_refresh_token(bench: Bench) -> None:
    """Somebody wrote into the table by hand: the token is put aside each time, and none is lost."""
    bench.add(extra="no JSON")
    bench.answer = granted
    assert bench.refresh()["acct"].reason == "internal_error"
    assert bench.runtime.redis.exists(bench.runtime.keys.stash("acct"))


def test_what_broke_off_after_it_was_stored_is_put_aside_nowhere(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError("nobody thought of it")

    bench.add()
    bench.answer = granted
    monkeypatch.setattr(refresher, "log_attempt", broken)
    bench.refresh()
    assert bench.refresh_token() == "new-refresh"
    assert not bench.runtime.redis.exists(bench.runtime.keys.stash("acct"))


def test_a_provider_that_asks_for_more_patience_than_numbers_have(bench: Bench) -> None:
    """What a worker can't tell the others of a provider keeps no account from its own failure."""
    bench.add()
    bench.answer = lambda _: httpx.Response(429, headers={"Retry-After": "1e308"})

    assert bench.refresh()["acct"].outcome == Outcome.RATE_LIMITED
    assert bench.account().claim_attempt is None
    assert not is_held(bench)


def test_an_answer_that_the_database_refuses_waits_in_redis_and_holds_nobody(bench: Bench) -> None:
    bench.add("other", scope="taken")
    bench.add("neighbour", refresh_token="neighbours")
    bench.add()

    def scoped(request: httpx.Request) -> httpx.Response:
        scope = "own" if b"neighbours" in request.content else "taken"
        token = {"access_token": "new-access", "refresh_token": f"new-{scope}", "scope": scope}
        return httpx.Response(200, json=token)

    bench.answer = scoped
    bench.runtime.refresher._slow_call_s = (
        None  # the group waits for the commits, however slow the database is
    )
    with unique(bench, "account", "scope"):
        results = bench.refresh("acct", "neighbour")
        first = bench.account()
        bench.refresh(trigger=Trigger.FORCED)

    assert (results["acct"].outcome, results["acct"].reason) == (Outcome.RETRY, "internal_error")
    assert results["neighbour"].outcome == Outcome.REFRESHED
    assert not is_held(bench)
    assert bench.runtime.redis.exists(bench.runtime.keys.stash("acct"))
    second = bench.account()
    for row, failures in ((first, 1), (second, 2)):
        assert (row.claim_attempt, row.failures, row.due_reason) == (None, failures, "internal_error")
        assert row.plan_at == row.next_refresh_at
    attempts = bench.runtime.history.of("acct", limit=9)
    assert [(one.outcome, one.reason, one.error_description) for one in attempts] == [
        (Outcome.RETRY, "internal_error", "IntegrityError")
    ] * 2
    assert len(bench.requests) == 2, "no second call while the first answer waits"

    let_claims_end(bench)
    result = bench.refresh(trigger=Trigger.FORCED)["acct"]
    assert (result.outcome, result.reason) == (Outcome.REFRESHED, STASH_ADOPTED)
    assert bench.refresh_token() == "new-taken"
    assert not bench.runtime.redis.exists(bench.runtime.keys.stash("acct"))


def test_a_mark_that_the_database_refuses_keeps_no_answer_from_being_stored(bench: Bench) -> None:
    """What is noted beside a commit can be known anew; an answer can't."""
    bench.add()

    def answer(request: httpx.Request) -> httpx.Response:
        bench.runtime.committer.dropped([("acct", 2**70)])
        return granted(request)

    bench.answer = answer
    assert bench.refresh()["acct"].outcome == Outcome.REFRESHED
    bench.runtime.run(bench.runtime.committer.drain())
    assert bench.account().published_generation == 2


def test_a_history_that_takes_no_refusal_keeps_no_call_back(bench: Bench) -> None:
    bench.add()
    bench.add("held")
    bench.runtime.redis.set(bench.runtime.keys.lock("held"), "somebody else", px=60_000)
    bench.refresh("held", trigger=Trigger.FORCED)
    bench.answer = granted

    with unique(bench, "attempt", "reason"):
        results = bench.refresh("held", "acct", trigger=Trigger.FORCED)

    assert (results["held"].outcome, results["acct"].outcome) == (Outcome.BUSY, Outcome.REFRESHED)
    assert not is_held(bench)


def test_a_token_that_can_t_be_published_is_stored_and_nobody_waits_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise LookupError("nobody thought of it")

    bench.add(published_generation=1)
    bench.answer = granted
    monkeypatch.setattr(bench.runtime.publisher, "put", broken)

    assert bench.refresh()["acct"].outcome == Outcome.REFRESHED
    bench.runtime.run(bench.runtime.committer.drain())
    row = bench.account()
    assert (row.generation, row.published_generation) == (2, -1), "the next reconcile publishes it"
