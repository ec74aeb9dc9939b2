"""Exchanges whose grant the database does not take: the code is spent, so the grant waits in Redis."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from models.tables.attempt import Trigger
from tests.integration.connect.conftest import Platform, granted, on_both
from worker.accounts.editor import Editor
from worker.accounts.grants.replacement import GrantStore, Moved
from worker.db.engine import writing
from worker.errors import DatabaseUnreachable, RefreshdError


def connect_while(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, error: RefreshdError, **wanted: Any
) -> dict[str, str]:
    """Go the whole way while no grant can be stored; returns the query that the browser brings back."""

    def away(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(GrantStore, "store_one", away)
        patched.setattr(Editor, "add", away)
        session = platform.open(**wanted)
        return platform.connected(session)


@on_both
@pytest.mark.parametrize(
    "error", [DatabaseUnreachable("the database is away"), Moved("again and again")], ids=["away", "moved"]
)
def test_the_next_refresh_stores_the_grant(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, error: RefreshdError
) -> None:
    platform.connected(platform.open())
    platform.bench.answer = lambda _: granted(2)

    query = connect_while(platform, monkeypatch, error)

    assert (query["status"], query["reason"]) == ("failed", "stored_later")
    with writing(platform.bench.runtime.engine) as connection:
        connection.execute(text("UPDATE account SET next_refresh_at = 1, plan_at = 1"))
    platform.bench.answer = lambda _: httpx.Response(503)
    platform.bench.refresh(seen=platform.bench.account().generation)
    assert platform.bench.refresh_token() == "marker-refresh-2"
    token = platform.bench.token()
    assert token is not None
    assert token.access_token == "marker-access-2"
    assert not platform.bench.runtime.redis.exists(platform.bench.runtime.keys.stash("acct"))


def test_a_refresh_token_alone_waits_as_well(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.connected(platform.open())
    platform.bench.answer = lambda _: httpx.Response(200, json={"refresh_token": "marker-refresh-2"})

    connect_while(platform, monkeypatch, DatabaseUnreachable("the database is away"))

    platform.bench.refresh(seen=platform.bench.account().generation, trigger=Trigger.FORCED)
    assert platform.bench.refresh_token() == "marker-refresh-2"


def test_a_grant_of_another_client_does_not_wait_for_an_account_that_would_send_it_as_its_own(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.add_client("crm-two", client_id="app-2")
    platform.connected(platform.open())
    platform.bench.answer = lambda _: granted(2)

    query = connect_while(
        platform, monkeypatch, DatabaseUnreachable("the database is away"), client="crm-two"
    )

    assert query["reason"] == "interrupted"
    assert not platform.bench.runtime.redis.exists(platform.bench.runtime.keys.stash("acct"))
