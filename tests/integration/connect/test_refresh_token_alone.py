"""An exchange that brings a refresh token alone: it is the grant, for the code is spent."""

from __future__ import annotations

import httpx

from tests.integration.connect.conftest import Platform, granted, on_both


@on_both
def test_a_refresh_token_alone_replaces_the_grant(platform: Platform) -> None:
    platform.connected(platform.open())
    platform.bench.answer = lambda _: httpx.Response(200, json={"refresh_token": "marker-refresh-2"})
    session = platform.open()

    query = platform.connected(session)

    assert query["status"] == "connected"
    assert platform.bench.refresh_token() == "marker-refresh-2"


@on_both
def test_a_refresh_token_alone_makes_an_account_that_is_refreshed_at_once(platform: Platform) -> None:
    platform.bench.answer = lambda _: httpx.Response(200, json={"refresh_token": "marker-refresh-1"})

    query = platform.connected(platform.open())

    assert query["status"] == "connected"
    account = platform.bench.account()
    assert platform.bench.refresh_token() == "marker-refresh-1"
    assert (account.access_token_sealed, account.issued_at, account.expires_at) == (None, None, None)
    assert account.plan_at is not None
    assert account.plan_at <= platform.bench.runtime.clock.now() + 5
    platform.bench.answer = lambda _: granted(2)
    platform.bench.refresh(seen=account.generation)
    token = platform.bench.token()
    assert token is not None
    assert token.access_token == "marker-access-2"


def test_an_answer_without_any_token_is_no_grant(platform: Platform) -> None:
    platform.bench.answer = lambda _: httpx.Response(200, json={"refresh_token": ""})

    assert platform.connected(platform.open())["status"] == "failed"
