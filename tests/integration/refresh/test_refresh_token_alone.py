"""A new refresh token that comes without an access token is stored, and the account asked again with it."""

from __future__ import annotations

from urllib.parse import parse_qs

import httpx
import pytest

from models.tables.account import Status
from models.tables.attempt import Outcome, Trigger
from models.token import Secret
from tests.integration.conftest import Bench
from worker.redis.pending_answers import PendingAnswers


def rotated(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"refresh_token": "RT-NEW"})


def granted(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"access_token": "new-access", "expires_in": 3600})


def test_it_is_stored_and_used_next(bench: Bench) -> None:
    before = bench.add()
    bench.answer = rotated

    result = bench.refresh()["acct"]

    assert (result.outcome, result.reason) == (Outcome.RETRY, "refresh_token_alone")
    row = bench.account()
    assert (bench.refresh_token(), row.generation, row.failures, row.claim_attempt) == ("RT-NEW", 2, 1, None)
    assert (row.status, row.expires_at) == (Status.ACTIVE, before.expires_at)
    assert row.next_refresh_at is not None
    assert row.expires_at is not None
    assert row.next_refresh_at < row.expires_at
    assert bench.token() is None
    (attempt,) = bench.runtime.history.of("acct", limit=9)
    assert (attempt.outcome, attempt.generation_after) == (Outcome.RETRY, 2)

    bench.answer = granted
    assert bench.refresh(seen=2, trigger=Trigger.FORCED)["acct"].outcome == Outcome.REFRESHED
    assert parse_qs(bench.requests[-1].content.decode())["refresh_token"] == ["RT-NEW"]
    token = bench.token()
    assert token is not None
    assert (token.access_token, token.generation) == ("new-access", 3)


def test_an_account_whose_token_has_ended_is_degraded(bench: Bench) -> None:
    bench.add(expires_at=1.0)
    bench.answer = rotated
    bench.refresh()
    assert (bench.account().status, bench.refresh_token()) == (Status.DEGRADED, "RT-NEW")


def test_an_account_that_never_had_an_access_token_keeps_none(bench: Bench) -> None:
    bench.add(access_token_sealed=None, issued_at=None, expires_at=None)
    bench.answer = rotated
    bench.refresh()
    assert (bench.account().access_token_sealed, bench.refresh_token()) == (None, "RT-NEW")
    bench.answer = granted
    assert bench.refresh(seen=2, trigger=Trigger.FORCED)["acct"].outcome == Outcome.REFRESHED


def test_a_newer_generation_is_not_overwritten(bench: Bench) -> None:
    """Compare-and-set, as with a success: what lost the race is kept and tried before anybody is asked to log in."""
    bench.add()

    def meanwhile(request: httpx.Request) -> httpx.Response:
        with bench.runtime.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE account SET generation = 5")
        return rotated(request)

    bench.answer = meanwhile
    assert bench.refresh()["acct"].outcome == Outcome.SUPERSEDED
    row = bench.account()
    assert (row.generation, bench.refresh_token()) == (5, "old-refresh")
    assert row.kept_sealed is not None
    kept = PendingAnswers.read(bench.runtime.cipher, "acct", row.kept_sealed)
    assert kept.tokens.refresh_token == Secret("RT-NEW")


@pytest.mark.parametrize("enabled", [True, False])
def test_it_switches_nothing_on(bench: Bench, enabled: bool) -> None:
    bench.add(
        refresh_enabled=enabled, status=Status.ACTIVE if enabled else Status.DISABLED, next_refresh_at=None
    )
    bench.answer = rotated
    bench.refresh()
    assert bench.account().next_refresh_at is None
