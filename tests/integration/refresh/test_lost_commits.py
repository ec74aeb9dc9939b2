"""A database that lost commits (a promoted replica that lagged) gets the answer back that Redis keeps for some minutes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from models.tables.attempt import Outcome, Trigger
from models.token import Secret
from tests.integration.conftest import Bench
from tests.integration.refresh.test_late_answers import refused
from worker.crypto.cipher import Cipher, parse_keys
from worker.db.engine import reading, writing
from worker.policy.reasons.correction import STASH_UNREADABLE
from worker.policy.reasons.done import LOST_COMMIT_ADOPTED, REFRESH_TOKEN_ALONE, REFRESHED
from worker.redis.pending_answers import KEPT_S


def rotating(bench: Bench) -> None:
    """Have the provider answer with a new refresh token each time."""
    numbers = itertools.count(1)

    def answer(_: httpx.Request) -> httpx.Response:
        number = next(numbers)
        tokens = {
            "access_token": f"access-{number}",
            "refresh_token": f"refresh-{number}",
            "expires_in": 3600,
        }
        return httpx.Response(200, json=tokens)

    bench.answer = answer


@contextmanager
def lost(bench: Bench) -> Iterator[None]:
    """Lose what the block commits to the account's row, as a replica does that had not received it."""
    with reading(bench.runtime.engine) as connection:
        before = dict(connection.execute(text("SELECT * FROM account")).mappings().one())
    yield
    bench.runtime.run(bench.runtime.committer.drain())
    sets = ", ".join(f"{name} = :{name}" for name in before)
    with writing(bench.runtime.engine) as connection:
        connection.execute(text(f"UPDATE account SET {sets}"), before)  # noqa: S608  (names of ours)


def forced(bench: Bench, seen: int) -> None:
    bench.refresh(seen=seen, trigger=Trigger.FORCED)


def answer_key(bench: Bench) -> str:
    return bench.runtime.keys.answer("acct")


@pytest.mark.parametrize("commits", [1, 3])
def test_the_answer_of_a_lost_commit_is_stored_again_and_no_spent_token_is_sent(
    bench: Bench, commits: int
) -> None:
    bench.add(generation=1, published_generation=1)
    rotating(bench)
    with lost(bench):
        for number in range(commits):
            forced(bench, 1 + number)
    assert bench.refresh_token() == "old-refresh"
    bench.answer = refused

    with capture_logs() as logs:
        result = bench.refresh(seen=1)["acct"]

    assert (result.outcome, result.reason) == (Outcome.REFRESHED, LOST_COMMIT_ADOPTED)
    assert len(bench.requests) == commits
    row, token = bench.account(), bench.token()
    assert bench.refresh_token() == f"refresh-{commits}"
    assert row.generation == commits + 2, "above what Redis has seen, so that it is published"
    assert token is not None
    assert (token.access_token, token.generation) == (f"access-{commits}", commits + 2)
    (line,) = (line for line in logs if line["event"] == "database_lost_commits")
    assert (line["account"], line["generation"], line["redis_generation"]) == ("acct", 1, commits + 1)
    assert line["adopted"] is True
    assert bench.events()[-1] == ("refreshed", LOST_COMMIT_ADOPTED)


def test_a_refresh_token_that_came_alone_is_stored_again_and_no_spent_token_is_sent(bench: Bench) -> None:
    """The answer has no access token of its own, so that its moment is not that of the row's."""
    before = bench.add(generation=1, published_generation=1)
    with lost(bench):
        bench.answer = lambda _: httpx.Response(200, json={"refresh_token": "alone"})
        forced(bench, 1)
    bench.answer = refused

    result = bench.refresh(seen=1)["acct"]

    assert (result.outcome, result.reason) == (Outcome.RETRY, REFRESH_TOKEN_ALONE)
    assert len(bench.requests) == 1
    row = bench.account()
    assert (bench.refresh_token(), row.generation, row.issued_at) == ("alone", 3, before.issued_at)
    assert row.next_refresh_at is not None


def test_the_access_token_beside_a_lost_refresh_token_that_came_alone_is_the_latest(bench: Bench) -> None:
    bench.add(generation=1, published_generation=1)
    rotating(bench)
    with lost(bench):
        forced(bench, 1)
        bench.answer = lambda _: httpx.Response(200, json={"refresh_token": "alone"})
        forced(bench, 2)

    assert bench.refresh(seen=1)["acct"].reason == REFRESH_TOKEN_ALONE
    assert (bench.refresh_token(), len(bench.requests)) == ("alone", 2)
    opened = bench.runtime.sealer.open(bench.account(), "access_token")
    assert opened is not None
    assert opened.reveal() == "access-1"


def test_it_is_lost_once_more_and_found_once_more(bench: Bench) -> None:
    bench.add(generation=1, published_generation=1)
    rotating(bench)
    with lost(bench):
        forced(bench, 1)
        with lost(bench):
            forced(bench, 2)
        bench.answer = refused
        assert bench.refresh(seen=2, trigger=Trigger.FORCED)["acct"].reason == LOST_COMMIT_ADOPTED

    assert bench.refresh(seen=1)["acct"].reason == LOST_COMMIT_ADOPTED
    assert bench.refresh_token() == "refresh-2"


def test_an_answer_is_kept_for_minutes_and_sealed(bench: Bench) -> None:
    bench.add()
    rotating(bench)
    forced(bench, 1)

    left: Any = bench.runtime.redis.ttl(answer_key(bench))
    sealed = str(bench.runtime.redis.get(answer_key(bench)))
    assert KEPT_S - 60 < left <= KEPT_S
    assert "refresh-1" not in sealed
    assert "access-1" not in sealed


def test_an_answer_that_rotated_nothing_is_not_kept(bench: Bench) -> None:
    """The row before it opens the provider's door as well."""
    bench.add()
    bench.answer = lambda _: httpx.Response(200, json={"access_token": "new", "expires_in": 3600})
    forced(bench, 1)

    assert not bench.runtime.redis.exists(answer_key(bench))


def test_where_nothing_was_lost_the_provider_is_asked(bench: Bench) -> None:
    bench.add()
    rotating(bench)
    forced(bench, 1)
    assert bench.refresh(seen=2, trigger=Trigger.FORCED)["acct"].reason == REFRESHED
    assert len(bench.requests) == 2


def test_a_login_after_the_loss_is_not_overwritten(bench: Bench) -> None:
    bench.add(generation=1, published_generation=1)
    rotating(bench)
    with lost(bench):
        forced(bench, 1)
    with writing(bench.runtime.engine) as connection:
        connection.execute(
            text("UPDATE account SET issued_at = :now, refresh_fp = 'of the login'"),
            {"now": bench.runtime.clock.now() + 1},
        )

    assert bench.refresh(seen=1)["acct"].reason == REFRESHED
    assert len(bench.requests) == 2


def test_an_account_added_again_after_the_loss_is_another_one(bench: Bench) -> None:
    bench.add(generation=1, published_generation=1)
    rotating(bench)
    with lost(bench):
        forced(bench, 1)
    with writing(bench.runtime.engine) as connection:
        connection.execute(
            text("UPDATE account SET created_at = :now, issued_at = NULL"),
            {"now": bench.runtime.clock.now() + 1},
        )

    assert bench.refresh(seen=1)["acct"].reason == REFRESHED


def test_a_kept_answer_whose_key_is_missing_means_no_call_until_it_ends(bench: Bench) -> None:
    bench.add(generation=1, published_generation=1)
    rotating(bench)
    with lost(bench):
        forced(bench, 1)
    other = Cipher(parse_keys("k9:" + "A" * 43 + "="))
    bench.runtime.redis.set(
        answer_key(bench), other.seal(Secret("{}"), account="acct", field="stash"), ex=KEPT_S
    )

    assert bench.refresh(seen=1)["acct"].reason == STASH_UNREADABLE
    assert len(bench.requests) == 1
    bench.runtime.redis.delete(answer_key(bench))
    assert bench.refresh(seen=1)["acct"].reason == REFRESHED


def test_an_answer_that_came_while_the_primary_was_lost_is_adopted_before_the_one_of_redis(
    bench: Bench,
) -> None:
    """The call began on a row that the promoted replica lacks: its answer waits beside the row."""
    bench.add(generation=1, published_generation=1)
    rotating(bench)
    inner = bench.answer
    with lost(bench):
        forced(bench, 1)
    with reading(bench.runtime.engine) as connection:
        before = dict(connection.execute(text("SELECT * FROM account")).mappings().one())
    with writing(bench.runtime.engine) as connection:
        connection.execute(text("UPDATE account SET generation = 2"))

    def answer(request: httpx.Request) -> httpx.Response:
        sets = ", ".join(f"{name} = :{name}" for name in before)
        with writing(bench.runtime.engine) as connection:
            connection.execute(text(f"UPDATE account SET {sets}"), before)  # noqa: S608  (names of ours)
        return inner(request)

    bench.answer = answer
    assert bench.refresh(seen=2)["acct"].outcome == Outcome.SUPERSEDED
    bench.answer = refused
    assert bench.refresh(seen=1)["acct"].reason == LOST_COMMIT_ADOPTED
    assert bench.refresh_token() == "refresh-2"
