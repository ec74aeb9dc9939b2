"""A grant that is tried before it is stored: its refresh token is not sent while something else sends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from models.tables.attempt import Trigger
from tests.integration.conftest import Bench
from tests.integration.intake.conftest import Asker
from tests.integration.intake.conftest import asker as asker  # noqa: PLC0414  (a fixture)
from tests.support.providers.rotating_provider import RotatingProvider
from worker.accounts.grants.replacement import GrantStore
from worker.errors import DatabaseUnreachable
from worker.intake.requests import Code, Op, Reply

STORED = {"access_token": "old-access", "refresh_token": "old-refresh", "expires_in": 600}
NEW = {"access_token": "new-access", "refresh_token": "consented", "expires_in": 3600}


def while_called(bench: Bench, provider: Callable[[httpx.Request], httpx.Response], act: Any) -> None:
    """Have something done in the course of the first call to the provider, and what it replies be there then."""

    async def answer(request: httpx.Request) -> httpx.Response:
        if len(bench.requests) == 1:
            await asyncio.to_thread(act)
        return provider(request)

    handler: Any = answer
    bench.answer = handler


def tried(asker: Asker, fields: dict[str, Any]) -> Reply:
    return asker.ask(Op.VERIFY_GRANT, account="acct", fields=fields)


def test_the_stored_refresh_token_is_not_tried_while_a_refresh_sends_it(asker: Asker) -> None:
    bench, provider, replies = asker.bench, RotatingProvider("old-refresh"), list[Reply]()
    bench.add()

    while_called(bench, provider, lambda: replies.append(tried(asker, STORED)))
    bench.refresh()

    assert [one.code for one in replies] == [Code.CONFLICT]
    assert provider.sent == ["old-refresh"]
    assert provider.alive is not None


def test_the_stored_refresh_token_is_not_sent_by_a_refresh_while_it_is_tried(asker: Asker) -> None:
    bench, provider = asker.bench, RotatingProvider("old-refresh")
    bench.add()

    while_called(bench, provider, lambda: bench.refresh(trigger=Trigger.FORCED))
    reply = tried(asker, STORED)

    assert reply.code is Code.DONE
    assert provider.sent == ["old-refresh"]
    assert bench.refresh_token() == provider.alive
    assert bench.account().claim_attempt is None


def test_a_refresh_token_is_not_tried_twice_at_once(asker: Asker) -> None:
    bench, provider, replies = asker.bench, RotatingProvider("consented"), list[Reply]()
    bench.add()

    while_called(bench, provider, lambda: replies.append(tried(asker, NEW)))
    reply = tried(asker, NEW)

    assert (reply.code, [one.code for one in replies]) == (Code.DONE, [Code.CONFLICT])
    assert provider.sent == ["consented"]
    assert bench.refresh_token() == provider.alive


def test_another_refresh_token_is_tried_while_a_refresh_sends_the_stored_one(asker: Asker) -> None:
    bench, replies = asker.bench, list[Reply]()
    bench.add()

    def provider(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"access_token": "refreshed", "expires_in": 3600})

    while_called(bench, provider, lambda: replies.append(tried(asker, NEW)))
    bench.refresh()

    assert [one.code for one in replies] == [Code.DONE]
    assert bench.refresh_token() == "consented"


def test_the_stored_refresh_token_is_not_tried_while_its_successor_waits(asker: Asker) -> None:
    bench, provider = asker.bench, RotatingProvider("old-refresh")
    bench.answer = provider
    bench.add()
    bench.runtime.redis.set(bench.runtime.keys.stash("acct"), "v1.k.AAAA")

    reply = tried(asker, STORED)

    assert (reply.code, provider.sent) == (Code.CONFLICT, [])
    assert bench.account().claim_attempt is None


def test_an_account_is_let_go_where_its_grant_is_refused(asker: Asker) -> None:
    asker.bench.answer = lambda _: httpx.Response(400, json={"error": "invalid_grant"})
    asker.bench.add()

    reply = tried(asker, NEW)

    assert reply.code is Code.REFUSED
    assert asker.bench.account().claim_attempt is None


def test_an_account_is_let_go_where_its_grant_waits_in_redis(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise DatabaseUnreachable("the database is away")

    monkeypatch.setattr(GrantStore, "store_one", away)
    asker.bench.answer = RotatingProvider("consented")
    asker.bench.add()

    assert tried(asker, NEW).code is Code.UNAVAILABLE
    assert asker.bench.account().claim_attempt is None
