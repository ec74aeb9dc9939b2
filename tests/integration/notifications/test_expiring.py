"""Refresh tokens that come to an end which no refresh moves are announced days before, once a threshold."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from models.tables.attempt import Trigger
from tests.integration.conftest import Bench, Handler
from tests.integration.notifications.conftest import Post
from worker.db.engine import make_engine, reading

DAY_S = 86400.0
DAYS = (1.0, 3.0, 14.0)


def granted_until(seconds: float) -> Handler:
    return lambda _: httpx.Response(
        200,
        json={
            "access_token": "new-access",
            "refresh_token": "new-refresh",
            "expires_in": 3600,
            "refresh_token_expires_in": seconds,
        },
    )


def announced(post: Post) -> int:
    return post.runtime.run(post.runtime.watch.expiring(DAYS))


def with_fixed_end(bench: Bench, account: str, days: float) -> None:
    now = bench.runtime.clock.now()
    bench.add(account, refresh_token_expires_at=now + days * DAY_S)
    bench.answer = granted_until(days * DAY_S)
    bench.refresh(account)


def test_an_end_that_a_refresh_did_not_move_is_announced_once_a_threshold(post: Post) -> None:
    with_fixed_end(post, "acme-1", 10)

    assert [announced(post), announced(post)] == [1, 0]
    post.sql("UPDATE account SET refresh_token_expires_at = refresh_token_expires_at - 8 * 86400")
    post.sql("UPDATE announced_end SET ends_at = ends_at - 8 * 86400")
    assert [announced(post), announced(post)] == [1, 0]
    post.tell()

    assert post.told_of == [("expiring", "acme-1")] * 2
    entries: Any = post.runtime.redis.xrange(post.runtime.keys.events)
    told = [fields for _, fields in entries if fields["type"] == "expiring"]
    assert [entry["reason"] for entry in told] == ["before_the_refresh_token_ends"] * 2
    assert float(told[0]["expires_at"]) == pytest.approx(
        float(post.taken[0][1]["data"]["expires_at"]), abs=0.01
    )


def test_an_end_that_each_refresh_moves_is_none(post: Post) -> None:
    now = post.runtime.clock.now()
    post.add("acme-1", refresh_token_expires_at=now + DAY_S)
    post.answer = granted_until(2 * DAY_S)
    post.refresh("acme-1")

    assert announced(post) == 0


def test_a_new_grant_has_an_end_of_its_own(post: Post) -> None:
    with_fixed_end(post, "acme-1", 2)
    announced(post)
    post.answer = granted_until(13 * DAY_S)
    post.refresh("acme-1", seen=2, trigger=Trigger.FORCED)
    assert announced(post) == 0, "nobody knows yet whether a refresh moves it"
    post.refresh("acme-1", seen=3, trigger=Trigger.FORCED)

    assert announced(post) == 1


def test_only_who_needs_to_know_is_told(post: Post) -> None:
    for account, days in (("far", 30.0), ("over", -1.0), ("off", 2.0), ("gone", 2.0), ("near", 2.0)):
        post.add(account, refresh_token_expires_at=post.runtime.clock.now() + days * DAY_S)
    post.sql("UPDATE account SET refresh_token_end_fixed = :yes", yes=True)
    post.sql("UPDATE account SET status = 'disabled' WHERE id = 'off'")
    post.sql("UPDATE account SET status = 'reauthorize' WHERE id = 'gone'")

    assert announced(post) == 1
    post.tell()
    assert post.told_of == [("expiring", "near")]


def test_ends_are_found_by_an_index(sqlite_url: str) -> None:
    """On SQLite: PostgreSQL's planner reads a small table as a whole, whatever its indexes."""
    engine = make_engine(sqlite_url)
    with reading(engine) as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT account.id FROM account LEFT JOIN announced_end AS known"
            " ON known.account = account.id WHERE account.refresh_token_end_fixed"
            " AND account.refresh_token_expires_at > 1 AND account.refresh_token_expires_at <= 2"
        ).all()
    engine.dispose()
    assert "ix_account_refresh_token_end" in str(plan)


def test_the_end_of_a_clients_secret_is_announced_once_a_threshold(post: Post) -> None:
    now = post.runtime.clock.now()
    post.add_client("crm", provider="xero", secret_expires_at=now + 10 * DAY_S)
    post.add_client("later", secret_expires_at=now + 30 * DAY_S)
    post.add_client("ended", secret_expires_at=now - DAY_S)

    assert [announced(post), announced(post)] == [1, 0]
    post.sql("UPDATE client SET secret_expires_at = secret_expires_at - 8 * 86400 WHERE name = 'crm'")
    assert [announced(post), announced(post)] == [1, 0]
    post.tell()

    assert [message["type"] for _, message in post.taken] == ["expiring"] * 2
    data = post.taken[0][1]["data"]
    assert (data["client"], data["provider"], data["reason"]) == (
        "id-of-crm",
        "xero",
        "before_the_client_secret_ends",
    )
    assert "account" not in data
    entries: Any = post.runtime.redis.xrange(post.runtime.keys.events)
    assert [(fields["type"], fields["client"]) for _, fields in entries] == [("expiring", "id-of-crm")] * 2
