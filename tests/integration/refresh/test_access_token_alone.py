"""An access token that is given alone while the stored refresh token is being spent: its successor is used next."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from models.tables.attempt import Outcome, Trigger
from models.token import Secret, TokenSet
from tests.integration.accounts.test_grants import GrantDesk, grant
from tests.integration.conftest import Bench
from tests.integration.intake.conftest import Asker
from tests.integration.intake.conftest import asker as asker  # noqa: PLC0414  (a fixture)
from tests.support.providers.rotating_provider import RotatingProvider
from worker.accounts.grants.replacement import StoredGrant
from worker.db.engine import writing
from worker.intake.requests import Code, Op
from worker.redis.pending_answers import GrantSeen, PendingAnswer, PendingAnswers


@pytest.fixture
def provider() -> RotatingProvider:
    return RotatingProvider("old-refresh")


def give_access_token_alone(bench: Bench) -> None:
    GrantDesk(bench).store.store_one(grant(refresh_token=None))


def refresh_while_one_is_given(bench: Bench, provider: RotatingProvider) -> None:
    def while_called(request: httpx.Request) -> httpx.Response:
        give_access_token_alone(bench)
        return provider(request)

    bench.answer = while_called
    bench.refresh()
    bench.answer = provider


def refresh_again(bench: Bench) -> None:
    for _ in range(2):
        bench.refresh(seen=bench.account().generation, trigger=Trigger.FORCED)


def test_a_late_answer_whose_predecessor_the_row_still_holds_is_adopted_before_that_is_sent_again(
    bench: Bench, provider: RotatingProvider
) -> None:
    bench.add()
    refresh_while_one_is_given(bench, provider)
    refresh_again(bench)

    assert provider.sent == ["old-refresh", "rotated-1"]
    assert bench.account().status == "active"
    assert bench.refresh_token() == "rotated-2"


def test_the_access_token_that_was_given_stays_until_the_next_refresh(
    bench: Bench, provider: RotatingProvider
) -> None:
    """It was given later, by whoever knows; the one of the late answer has another scope, perhaps."""
    bench.add()
    refresh_while_one_is_given(bench, provider)
    bench.refresh(seen=bench.account().generation, trigger=Trigger.FORCED)

    opened = bench.runtime.sealer.open(bench.account(), "access_token")
    assert opened is not None
    assert opened.reveal() == "new-access"
    assert bench.refresh_token() == "rotated-1"
    assert bench.runtime.history.of("acct", limit=1)[0].outcome == Outcome.RETRY


def test_a_pending_answer_whose_predecessor_the_row_still_holds_is_adopted_before_that_is_sent_again(
    bench: Bench, provider: RotatingProvider
) -> None:
    """The database was away when the answer came; an access token alone was given before the next refresh."""
    bench.add()
    row, now = bench.account(), bench.runtime.clock.now()
    request = httpx.Request("POST", "https://p.example", data={"refresh_token": "old-refresh"})
    answer = provider(request).json()
    tokens = TokenSet(
        Secret(answer["access_token"]), Secret(answer["refresh_token"]), "Bearer", None, now, now + 3600
    )
    pending = PendingAnswer(row.generation, tokens, grant=GrantSeen(now, row.refresh_fp, row.source_fp))
    sealed = PendingAnswers.seal_with(bench.runtime.cipher, "acct", pending)
    bench.runtime.redis.set(bench.runtime.keys.stash("acct"), sealed)
    give_access_token_alone(bench)
    bench.answer = provider
    refresh_again(bench)

    assert provider.sent == ["old-refresh", "rotated-1"]
    assert bench.refresh_token() == "rotated-2"


def test_an_access_token_alone_takes_no_kept_answer_away(bench: Bench, provider: RotatingProvider) -> None:
    bench.add()
    refresh_while_one_is_given(bench, provider)
    kept = bench.account().kept_sealed
    give_access_token_alone(bench)

    assert kept is not None
    assert bench.account().kept_sealed == kept


def test_a_new_refresh_token_takes_it_away(bench: Bench, provider: RotatingProvider) -> None:
    bench.add()
    refresh_while_one_is_given(bench, provider)
    assert bench.account().kept_sealed is not None
    GrantDesk(bench).store.store_one(grant(refresh_token="of-a-new-grant"))

    assert bench.account().kept_sealed is None


@pytest.mark.parametrize("op", [Op.PATCH_ACCOUNT, Op.PUT_ACCOUNT])
def test_a_row_with_an_access_token_alone_has_no_spent_refresh_token_sent_again(
    asker: Asker, op: Op, provider: RotatingProvider
) -> None:
    bench = asker.bench
    bench.add()

    async def while_called(request: httpx.Request) -> httpx.Response:
        fields = {"access_token": "by-hand", "issued_at": bench.runtime.clock.now(), "expires_in": 600}
        if len(bench.requests) == 1:
            reply = await asyncio.to_thread(asker.ask, op, account="acct", fields=fields)
            assert reply.code is Code.DONE
        return provider(request)

    handler: Any = while_called
    bench.answer = handler
    bench.refresh()
    bench.answer = provider
    refresh_again(bench)

    assert provider.sent == ["old-refresh", "rotated-1"]


def test_an_answer_of_a_lost_commit_is_not_put_over_a_grant_that_came_since(
    bench: Bench, provider: RotatingProvider
) -> None:
    """A replica that lagged was promoted; then the account's new owner consented, and gave a refresh token alone."""
    bench.answer = provider
    bench.add()
    before = bench.account()
    bench.refresh()
    set_row(bench, next_refresh_at=1.0, plan_at=1.0)
    bench.refresh(seen=2)
    tokens = ("access_token_sealed", "refresh_token_sealed", "refresh_fp", "issued_at", "expires_at")
    set_row(bench, **{name: getattr(before, name) for name in (*tokens, "generation")})
    stored = GrantDesk(bench).store.store_one(grant(access_token=None, refresh_token="of-the-new-owner"))
    assert isinstance(stored, StoredGrant)
    provider.alive, provider.sent = "of-the-new-owner", []

    bench.refresh(seen=stored.account.generation)

    assert provider.sent == ["of-the-new-owner"]


def set_row(bench: Bench, **values: Any) -> None:
    sets = ", ".join(f"{name} = :{name}" for name in values)
    with writing(bench.runtime.engine) as connection:
        connection.execute(text(f"UPDATE account SET {sets}"), values)  # noqa: S608  (names of ours)
