"""An answer that came too late for its row: kept where it may be of use, and never given to somebody else."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import text

from models.tables.account import Status, fingerprint
from models.tables.attempt import Outcome, Trigger
from models.token import Secret, TokenSet
from tests.integration.accounts.test_grants import GrantDesk, grant
from tests.integration.conftest import Bench, Handler
from tests.integration.refresh.test_refresher import granted
from worker.crypto.cipher import Cipher, generate_key, parse_keys
from worker.db.accounts.stored import Accounts
from worker.db.engine import writing
from worker.policy.reasons.correction import STASH_UNREADABLE
from worker.policy.reasons.done import KEPT_ANSWER_ADOPTED, REFRESH_TOKEN_ALONE, STASH_ADOPTED
from worker.redis.pending_answers import PendingAnswer, PendingAnswers


def refused(_: httpx.Request) -> httpx.Response:
    return httpx.Response(400, json={"error": "invalid_grant"})


def sealed_answer(bench: Bench, refresh_token: str, *, follows: int, issued_at: float | None = None) -> str:
    access_token = Secret("late-access")
    tokens = TokenSet(access_token, Secret(refresh_token), "Bearer", None, issued_at, None)
    stash = PendingAnswers(bench.runtime.async_redis, bench.runtime.keys, bench.runtime.cipher)
    return stash.seal("acct", PendingAnswer(follows, tokens))


def set_columns(bench: Bench, **values: object) -> None:
    sets = ", ".join(f"{name} = :{name}" for name in values)
    with writing(bench.runtime.engine) as connection:
        connection.execute(text(f"UPDATE account SET {sets}"), values)  # noqa: S608  (names of ours)


def add_again(bench: Bench) -> None:
    """Remove the account and add one of the same id for somebody else, without an access token."""
    accounts = Accounts(bench.runtime.engine)
    accounts.remove(["acct"])
    bench.add(
        generation=accounts.retired(["acct"])["acct"],
        refresh_token="somebody-else-s",
        access_token_sealed=None,
        created_at=bench.runtime.clock.now(),
    )


def while_called(bench: Bench, happens: Callable[[], object], answer: Handler = granted) -> None:
    """Have something happen while the call is under way."""

    def handle(request: httpx.Request) -> httpx.Response:
        happens()
        return answer(request)

    bench.answer = handle


def test_an_account_removed_and_added_again_during_a_call_is_another_one(bench: Bench) -> None:
    bench.add(generation=5)
    while_called(bench, lambda: add_again(bench))

    result = bench.refresh(seen=5)["acct"]

    assert result.outcome == Outcome.SUPERSEDED
    row = bench.account()
    assert bench.refresh_token() == "somebody-else-s"
    assert (row.kept_sealed, row.claim_attempt, bench.token()) == (None, None, None)


def test_what_waits_in_redis_of_an_account_since_removed_is_not_the_new_one_s(bench: Bench) -> None:
    bench.add(generation=5)
    before = bench.runtime.clock.now() - 60
    add_again(bench)
    key = bench.runtime.keys.stash("acct")
    bench.runtime.redis.set(key, sealed_answer(bench, "late", follows=5, issued_at=before))
    bench.answer = refused

    assert bench.refresh(seen=6)["acct"].outcome == Outcome.REAUTHORIZE
    assert bench.account().kept_sealed is None
    assert not bench.runtime.redis.exists(key)


@pytest.mark.parametrize(
    ("waits", "reason", "holds"),
    [("late", KEPT_ANSWER_ADOPTED, "late"), ("old-refresh", "invalid_grant", "old-refresh")],
    ids=["another answer", "what the row came from"],
)
def test_a_stash_whose_generation_is_over_is_of_use_where_the_row_has_not_its_token(
    bench: Bench, waits: str, reason: str, holds: str
) -> None:
    bench.add(generation=2)
    key = bench.runtime.keys.stash("acct")
    bench.runtime.redis.set(key, sealed_answer(bench, waits, follows=1))
    bench.answer = refused

    assert bench.refresh(seen=2)["acct"].reason == reason
    assert (bench.refresh_token(), bench.account().kept_sealed) == (holds, None)
    assert not bench.runtime.redis.exists(key)


def test_an_answer_that_lost_its_race_is_adopted_before_anyone_has_to_log_in(bench: Bench) -> None:
    bench.add()
    while_called(bench, lambda: set_columns(bench, generation=2, refresh_fp="x"))
    assert bench.refresh()["acct"].outcome == Outcome.SUPERSEDED
    assert bench.account().kept_sealed is not None

    bench.answer = refused
    result = bench.refresh(seen=2)["acct"]

    assert (result.outcome, result.reason, result.generation) == (Outcome.REFRESHED, KEPT_ANSWER_ADOPTED, 3)
    row = bench.account()
    assert (bench.refresh_token(), row.kept_sealed, row.status) == ("new-refresh", None, Status.ACTIVE)
    assert row.plan_at is not None
    assert row.plan_at <= bench.runtime.clock.now()


def given_by_a_platform(bench: Bench) -> None:
    GrantDesk(bench).store.store_one(grant(refresh_token="of-the-new-grant"))


def given_by_a_person(bench: Bench) -> None:
    """Write what `worker/db/accounts/stored.py` does."""
    set_columns(
        bench,
        generation=2,
        refresh_token_sealed=bench.seal("acct", "refresh_token", "of-the-new-grant"),
        refresh_fp=fingerprint(Secret("of-the-new-grant")),
        source_fp=fingerprint(Secret("of-the-new-grant")),
        kept_sealed=None,
    )


GRANTS = pytest.mark.parametrize("given", [given_by_a_platform, given_by_a_person])


@GRANTS
def test_a_late_answer_of_an_earlier_grant_is_not_adopted(
    bench: Bench, given: Callable[[Bench], None]
) -> None:
    """The new grant may be another owner's: what the old one still brings is not published for it."""
    bench.add()
    while_called(bench, lambda: given(bench))
    assert bench.refresh()["acct"].outcome == Outcome.SUPERSEDED
    bench.answer = refused

    result = bench.refresh(seen=2, trigger=Trigger.FORCED)["acct"]

    assert (result.outcome, result.reason) == (Outcome.REAUTHORIZE, "invalid_grant")
    assert (bench.refresh_token(), bench.account().kept_sealed) == ("of-the-new-grant", None)
    assert bench.token() is None


@GRANTS
def test_an_answer_of_an_earlier_grant_that_waits_in_redis_is_dropped(
    bench: Bench, given: Callable[[Bench], None]
) -> None:
    bench.add()
    while_called(bench, lambda: given(bench))
    bench.refresh()
    key = bench.runtime.keys.stash("acct")
    bench.runtime.redis.set(key, str(bench.account().kept_sealed))
    set_columns(bench, kept_sealed=None)
    bench.answer = refused

    assert bench.refresh(seen=2, trigger=Trigger.FORCED)["acct"].outcome == Outcome.REAUTHORIZE
    assert (bench.refresh_token(), bench.account().kept_sealed) == ("of-the-new-grant", None)
    assert not bench.runtime.redis.exists(key)


def test_a_late_answer_is_adopted_where_the_grant_was_given_right_before_its_call(bench: Bench) -> None:
    bench.add()
    given_by_a_platform(bench)
    while_called(bench, lambda: set_columns(bench, generation=3, refresh_fp="x"))
    assert bench.refresh(seen=2, trigger=Trigger.FORCED)["acct"].outcome == Outcome.SUPERSEDED
    bench.answer = refused

    assert bench.refresh(seen=3, trigger=Trigger.FORCED)["acct"].reason == KEPT_ANSWER_ADOPTED


def test_a_late_answer_is_adopted_where_an_access_token_alone_was_given_meanwhile(bench: Bench) -> None:
    """The row's refresh token is the one that was sent, and spent."""
    bench.add()
    while_called(bench, lambda: GrantDesk(bench).store.store_one(grant(refresh_token=None)))
    assert bench.refresh()["acct"].outcome == Outcome.SUPERSEDED
    bench.answer = refused

    assert bench.refresh(seen=2, trigger=Trigger.FORCED)["acct"].reason == REFRESH_TOKEN_ALONE
    assert (bench.refresh_token(), len(bench.requests)) == ("new-refresh", 1)


def test_a_kept_answer_that_follows_the_row_is_adopted_before_its_spent_token_is_sent(bench: Bench) -> None:
    """Where Redis was away, the answer to a test of a callback lies beside the row."""
    bench.add()
    set_columns(bench, kept_sealed=sealed_answer(bench, "tested", follows=1))

    result = bench.refresh()["acct"]

    assert (result.outcome, result.reason, bench.requests) == (Outcome.REFRESHED, STASH_ADOPTED, [])
    assert (bench.refresh_token(), bench.account().kept_sealed) == ("tested", None)


def test_a_stash_whose_generation_is_over_leaves_a_kept_answer_that_follows_the_row(bench: Bench) -> None:
    bench.add(
        generation=2,
        refresh_token="spent",
        kept_sealed=sealed_answer(bench, "live", follows=2),
    )
    bench.runtime.redis.set(
        bench.runtime.keys.stash("acct"),
        sealed_answer(bench, "late", follows=1, issued_at=bench.runtime.clock.now()),
    )
    result = bench.refresh(seen=2)["acct"]
    assert (result.outcome, result.reason) == (Outcome.REFRESHED, STASH_ADOPTED)
    assert bench.refresh_token() == "live"
    assert not bench.requests, "the spent token was sent"


def test_a_refusal_is_believed_where_the_kept_answer_is_of_no_use(bench: Bench) -> None:
    """It holds the very refresh token that was refused, or was sealed with a key that is gone."""
    bench.add()
    other = Cipher(parse_keys(generate_key("gone")))
    unreadable = other.seal(Secret("{}"), account="acct", field="stash")
    for kept in (sealed_answer(bench, "old-refresh", follows=0), unreadable):
        set_columns(bench, status="active", kept_sealed=kept)
        bench.answer = refused

        result = bench.refresh(trigger=Trigger.FORCED)["acct"]

        assert (result.outcome, result.reason) == (Outcome.REAUTHORIZE, "invalid_grant")
        row = bench.account()
        assert (row.status, row.plan_at, row.kept_sealed) == (Status.REAUTHORIZE, None, kept)


def test_a_refusal_is_not_believed_where_an_answer_was_kept_meanwhile(bench: Bench) -> None:
    bench.add()
    late = sealed_answer(bench, "late", follows=0)
    while_called(bench, lambda: set_columns(bench, kept_sealed=late), refused)

    assert bench.refresh()["acct"].outcome == Outcome.SUPERSEDED
    row = bench.account()
    assert (row.status, row.plan_at, row.kept_sealed) == (Status.ACTIVE, row.next_refresh_at, late)

    bench.answer = refused
    assert bench.refresh()["acct"].reason == KEPT_ANSWER_ADOPTED
    assert bench.refresh_token() == "late"


def test_a_stash_that_nobody_can_read_means_no_call(bench: Bench) -> None:
    """What the row holds may be spent, and asking for another token with it would end the grant."""
    bench.add()
    key = bench.runtime.keys.stash("acct")
    unreadable = Cipher(parse_keys(generate_key("gone"))).seal(Secret("{}"), account="acct", field="stash")
    bench.runtime.redis.set(key, unreadable)
    bench.answer = granted

    result = bench.refresh()["acct"]

    assert (result.outcome, result.reason, bench.requests) == (Outcome.NOT_SENT, STASH_UNREADABLE, [])
    assert bench.runtime.redis.get(key) == unreadable
    assert not bench.runtime.redis.exists(bench.runtime.keys.lock("acct"))


@pytest.mark.parametrize("brings", ["old-refresh", None])
def test_what_the_row_holds_already_is_not_kept_beside_it(bench: Bench, brings: str | None) -> None:
    """A commit whose acknowledgement was lost is done again; a provider that rotates nothing gives what we have."""
    bench.add()
    token = {"access_token": "new-access", "refresh_token": brings}
    while_called(bench, lambda: set_columns(bench, generation=2), lambda _: httpx.Response(200, json=token))

    assert bench.refresh()["acct"].outcome == Outcome.SUPERSEDED
    assert bench.account().kept_sealed is None
