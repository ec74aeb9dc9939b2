"""A refusal that one more try overturns or confirms, and one that hides behind a failure: rows, events, and the calls made."""

from __future__ import annotations

import json

import httpx
import pytest

from models.tables.account import Status
from models.tables.attempt import Outcome, Trigger
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from worker.policy.confirmation import CONFIRM_AFTER_S
from worker.policy.reasons.login import PROBABLY_DEAD, TO_BE_CONFIRMED

STAYS = {"knobs": json.dumps({"rotates": False})}


def refused(_: httpx.Request) -> httpx.Response:
    return httpx.Response(400, json={"error": "invalid_grant"})


def test_one_refusal_amid_good_answers_is_no_end(bench: Bench) -> None:
    bench.add(**STAYS)
    bench.answer = refused
    result = bench.refresh()["acct"]

    assert (result.outcome, result.reason) == (Outcome.REAUTHORIZE, "invalid_grant")
    row = bench.account()
    assert (row.status, row.reason, row.failures) == (Status.ACTIVE, TO_BE_CONFIRMED, 0)
    assert row.next_refresh_at is not None
    assert row.next_refresh_at == pytest.approx(row.status_at + CONFIRM_AFTER_S, abs=1)
    assert bench.events() == [("failed", "invalid_grant")]
    assert bench.refresh()["acct"].outcome == Outcome.NOT_DUE

    bench.answer = granted
    assert bench.refresh(trigger=Trigger.FORCED)["acct"].outcome == Outcome.REFRESHED
    assert (bench.account().status, bench.account().reason) == (Status.ACTIVE, None)
    assert len(bench.requests) == 2


def test_the_second_refusal_asks_the_owner(bench: Bench) -> None:
    bench.add(**STAYS)
    bench.answer = refused
    bench.refresh()
    bench.refresh(trigger=Trigger.FORCED)

    row = bench.account()
    assert (row.status, row.reason, row.next_refresh_at) == (Status.REAUTHORIZE, "invalid_grant", None)
    assert bench.events()[-1] == ("reauthorize", "invalid_grant")


def test_where_a_second_try_may_end_the_grant_the_first_refusal_counts(bench: Bench) -> None:
    bench.add(knobs=json.dumps({"rotates": True}))
    bench.answer = refused
    bench.refresh()
    assert bench.account().status == Status.REAUTHORIZE


def test_a_dead_grant_behind_a_proxy_is_told_once_and_tried_on(bench: Bench) -> None:
    now = bench.add("other").issued_at or 0.0
    bench.add(expires_at=now, status=Status.DEGRADED, reason="refused_behind_a_failure", failures=4)
    dead = {"error": "server_error", "error_description": "Token refresh failed: 400"}
    bench.answer = lambda _: httpx.Response(500, json=dead)
    bench.refresh()
    bench.refresh(trigger=Trigger.FORCED)

    row = bench.account()
    assert (row.status, row.reason) == (Status.DEGRADED, PROBABLY_DEAD)
    assert row.next_refresh_at is not None
    assert [event for event in bench.events() if event[0] != "failed"] == [("degraded", PROBABLY_DEAD)]


def test_a_challenge_is_no_wrong_url_at_an_account_that_had_refreshed(bench: Bench) -> None:
    bench.add()
    bench.add("new", generation=0, access_token_sealed=None, expires_at=None)
    bench.answer = granted
    bench.refresh()
    bench.answer = lambda _: httpx.Response(
        403, headers={"content-type": "text/html"}, content=b"<!DOCTYPE html><title>Just a moment...</title>"
    )
    assert bench.refresh(seen=2, trigger=Trigger.FORCED)["acct"].reason == "page_instead_of_answer"
    assert bench.account().status == Status.ACTIVE
    assert bench.refresh("new", seen=0)["new"].reason == "html_page"
    assert bench.account("new").status == Status.MISCONFIGURED
