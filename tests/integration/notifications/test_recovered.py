"""`recovered` comes when a token does, after everything that was told to be wrong; never before, never twice."""

from __future__ import annotations

import httpx

from models.tables.account import RECONFIGURED, Status
from models.tables.attempt import Trigger
from tests.integration.conftest import Handler
from tests.integration.notifications.conftest import Post
from tests.integration.refresh.test_refresher import granted


def answering(status: int, error: str = "") -> Handler:
    return lambda _: httpx.Response(status, json={"error": error} if error else None)


def test_a_failure_of_another_kind_does_not_end_what_was_told(post: Post) -> None:
    post.add("acme-1", client_id=None, client_secret_sealed=None)
    post.answer = answering(400, "invalid_scope")
    post.refresh("acme-1")
    post.answer = answering(503)
    post.refresh("acme-1", trigger=Trigger.FORCED)
    row = post.account("acme-1")
    assert (row.status, row.reason) == (Status.MISCONFIGURED, "invalid_scope")
    post.answer = granted
    post.refresh("acme-1", trigger=Trigger.FORCED)

    post.tell()
    assert post.told_of == [("misconfigured", "acme-1"), ("recovered", "acme-1")]
    assert [kind for kind, _ in post.events()] == [
        *("failed", "misconfigured"),
        "failed",
        *("refreshed", "recovered"),
    ]


def test_an_edit_is_not_a_recovery_until_a_token_has_come(post: Post) -> None:
    post.add("acme-1")
    post.answer = answering(400, "invalid_scope")
    post.refresh("acme-1")
    account = post.account("acme-1")
    account.reconfigured(now=account.status_at + 1)
    assert (account.status, account.reason) == (Status.ACTIVE, RECONFIGURED)
    post.sql("UPDATE account SET status = 'active', reason = :reason", reason=RECONFIGURED)
    post.answer = granted
    post.refresh("acme-1", trigger=Trigger.FORCED)

    post.tell()
    assert post.told_of == [("misconfigured", "acme-1"), ("recovered", "acme-1")]
    assert post.account("acme-1").reason is None


def test_an_account_that_was_well_does_not_recover(post: Post) -> None:
    post.add("acme-1")
    post.answer = answering(503)
    post.refresh("acme-1")
    post.answer = granted
    post.refresh("acme-1", trigger=Trigger.FORCED)

    post.tell()
    assert post.told_of == []


def test_a_token_that_ends_while_its_account_waits_is_announced(post: Post) -> None:
    account = post.add("first")
    assert account.expires_at is not None
    post.add("ended", expires_at=account.expires_at - 120)
    post.answer = lambda _: httpx.Response(429, headers={"Retry-After": "60"})
    post.refresh("first")
    post.runtime.run(post.runtime.token_ends.sweep())
    post.refresh("ended")

    post.tell()
    assert post.told_of == [("degraded", "ended")]
