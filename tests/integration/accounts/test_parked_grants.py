"""Tried grants that the database did not take: they wait in Redis, for the account that they were given to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from sqlalchemy import text

from models.tables.attempt import Trigger
from models.token import Secret
from tests.integration.conftest import Bench
from tests.integration.intake.conftest import Asker
from tests.integration.intake.conftest import asker as asker  # noqa: PLC0414  (a fixture)
from tests.support.waiting import wait_until
from worker.accounts.grants.replacement import GrantStore
from worker.db.engine import writing
from worker.errors import DatabaseUnreachable
from worker.intake.requests import Code, Op, Reply
from worker.redis.pending_answers import PendingAnswers


def rotated(request: httpx.Request) -> httpx.Response:
    (sent,) = parse_qs(request.content.decode())["refresh_token"]
    return httpx.Response(
        200, json={"access_token": f"a-{sent}", "refresh_token": f"{sent}-2", "expires_in": 3600}
    )


def refused(_: httpx.Request) -> httpx.Response:
    return httpx.Response(400, json={"error": "invalid_grant"})


def make_due(bench: Bench) -> None:
    with writing(bench.runtime.engine) as connection:
        connection.execute(text("UPDATE account SET next_refresh_at = 1, plan_at = 1"))


@pytest.fixture
def tried_while_away(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reply]:
    def away(*_: Any, **__: Any) -> None:
        raise DatabaseUnreachable("the database is away")

    def tried(**fields: Any) -> Reply:
        given = {"access_token": "given", "refresh_token": "of-the-first-owner", "expires_in": 3600, **fields}
        with monkeypatch.context() as patched:
            patched.setattr(GrantStore, "store_one", away)
            return asker.ask(Op.VERIFY_GRANT, account="acct", fields=given)

    return tried


def test_it_is_dropped_where_another_owner_s_grant_came_since(
    asker: Asker, tried_while_away: Callable[..., Reply]
) -> None:
    bench = asker.bench
    bench.add()
    bench.answer = rotated
    assert tried_while_away().code is Code.UNAVAILABLE
    fields = {"access_token": "second", "refresh_token": "of-the-second-owner", "expires_in": 3600}
    assert asker.ask(Op.PUT_GRANT, account="acct", fields=fields).code is Code.DONE

    bench.answer = refused
    make_due(bench)
    result = bench.refresh(seen=2)["acct"]

    assert (result.reason, bench.refresh_token()) == ("invalid_grant", "of-the-second-owner")
    assert not bench.runtime.redis.exists(bench.runtime.keys.stash("acct"))


def test_it_is_stored_though_its_token_was_issued_before_the_account_was_added(
    asker: Asker, tried_while_away: Callable[..., Reply]
) -> None:
    """A refresh token may come alone, beside an access token of yesterday."""
    bench = asker.bench
    bench.add(created_at=bench.runtime.clock.now() - 60)
    bench.answer = lambda _: httpx.Response(200, json={"refresh_token": "successor"})
    assert tried_while_away(issued_at=bench.runtime.clock.now() - 3000).code is Code.UNAVAILABLE
    make_due(bench)

    bench.refresh(trigger=Trigger.FORCED)

    assert bench.refresh_token() == "successor"


def test_where_redis_is_away_too_the_reply_says_that_it_is_lost(
    asker: Asker, tried_while_away: Callable[..., Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    asker.bench.add()
    asker.bench.answer = rotated

    redis, stash = asker.bench.runtime.redis, asker.bench.runtime.keys.stash("acct")
    usual = redis.set

    def away(name: str, *args: Any, **options: Any) -> Any:
        if name == stash:
            raise OSError("refused")
        return usual(name, *args, **options)

    monkeypatch.setattr(redis, "set", away)

    reply = tried_while_away()

    assert reply.code is Code.UNAVAILABLE
    assert "tokens are lost" in reply.detail


@pytest.mark.parametrize("away_for", ["the try alone", "both, the try first", "both, the refresh first"])
def test_it_outlives_a_refresh_of_the_grant_before_that_was_under_way(
    asker: Asker,
    tried_while_away: Callable[..., Reply],
    monkeypatch: pytest.MonkeyPatch,
    away_for: str,
) -> None:
    """The database is away while a refresh is under way and a new grant is tried: its reply says that a refresh stores it."""
    bench = asker.bench
    bench.add()
    store, stash = bench.runtime.store, bench.runtime.keys.stash("acct")
    close = store.close
    sent: list[bytes] = []

    async def close_away(*_: Any, **__: Any) -> None:
        raise DatabaseUnreachable("the database is away")

    def tried() -> None:
        reply = tried_while_away(refresh_token="of-the-new-grant")
        assert reply.code is Code.UNAVAILABLE
        assert "--force` stores them" in reply.detail

    async def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        if b"old-refresh" in request.content and away_for != "both, the refresh first":
            await asyncio.to_thread(tried)
        return rotated(request)

    handler: Any = answer
    bench.answer = handler
    if away_for != "the try alone":
        monkeypatch.setattr(store, "close", close_away)
    under_way = bench.begin_refresh("acct")
    if away_for == "both, the refresh first":
        wait_until(lambda: bool(bench.runtime.redis.exists(stash)), "the answer is put aside")
        tried()
    under_way.result(20)
    monkeypatch.setattr(store, "close", close)
    wait_until(lambda: bench.account().generation > 1, "the refresh is stored")
    wait_until(lambda: not bench.runtime.redis.exists(bench.runtime.keys.lock("acct")), "it is published")

    waits = PendingAnswers.read(bench.runtime.cipher, "acct", str(bench.runtime.redis.get(stash)))
    assert waits.given
    assert waits.tokens.refresh_token == Secret("of-the-new-grant-2"), sent

    bench.refresh(seen=bench.account().generation, trigger=Trigger.FORCED)

    assert bench.refresh_token() == "of-the-new-grant-2"
    assert not bench.runtime.redis.exists(stash)
