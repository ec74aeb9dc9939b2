"""Grants and rows whose access token is not of this moment: what they say of its end holds, a time to come does not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.accounts.test_grants import GrantDesk, grant
from tests.integration.conftest import Bench
from tests.integration.intake.conftest import Asker
from tests.integration.intake.conftest import asker as asker  # noqa: PLC0414  (a fixture)
from worker.intake.requests import Code, Op


@pytest.fixture
def desk(bench: Bench) -> GrantDesk:
    return GrantDesk(bench)


@pytest.mark.parametrize("lifetime_s", [None, 3600])
def test_a_grant_whose_token_has_ended_is_due_at_once_and_is_not_published(
    bench: Bench, desk: GrantDesk, lifetime_s: float | None
) -> None:
    bench.add()
    now = bench.runtime.clock.now()

    desk.put(grant(expires_in=lifetime_s, expires_at=now - 100))

    account = bench.account()
    assert bench.token() is None
    assert account.expires_at == pytest.approx(now - 100)
    assert account.next_refresh_at is not None
    assert account.next_refresh_at <= now + 1


def test_a_grant_that_names_its_end_and_its_lifetime_is_as_old_as_they_say(
    bench: Bench, desk: GrantDesk
) -> None:
    bench.add()
    now = bench.runtime.clock.now()

    desk.put(grant(expires_in=3600, expires_at=now + 600))

    token = bench.token()
    assert token is not None
    assert token.issued_at == pytest.approx(now - 3000)
    assert token.expires_at == pytest.approx(now + 600)


@pytest.mark.parametrize("lifetime_s", [None, 3600])
@pytest.mark.parametrize("op", [Op.PUT_ACCOUNT, Op.PATCH_ACCOUNT])
def test_a_row_whose_token_has_ended_is_due_at_once_and_is_not_published(
    asker: Asker, lifetime_s: float | None, op: Op
) -> None:
    bench = asker.bench
    bench.add(status="reauthorize", next_refresh_at=None, plan_at=None)
    now = bench.runtime.clock.now()
    fields: dict[str, Any] = {
        "access_token": "new-access",
        "refresh_token": "new-refresh",
        "expires_at": now - 100,
    }
    if lifetime_s:
        fields["expires_in"] = lifetime_s

    assert asker.ask(op, account="acct", fields=fields).code is Code.DONE

    account = bench.account()
    assert bench.token() is None
    assert account.next_refresh_at is not None
    assert account.next_refresh_at <= now + 1


@pytest.mark.parametrize("op", [Op.PUT_ACCOUNT, Op.PUT_GRANT])
def test_a_token_that_was_issued_in_the_future_is_refreshed_before_it_ends(asker: Asker, op: Op) -> None:
    """Local time without its zone is hours ahead."""
    bench = asker.bench
    bench.add(status="reauthorize", next_refresh_at=None, plan_at=None)
    now = bench.runtime.clock.now()
    fields = {
        "access_token": "new-access",
        "refresh_token": "new-refresh",
        "issued_at": now + 7200,
        "expires_in": 3600,
    }

    assert asker.ask(op, account="acct", fields=fields).code is Code.DONE

    account, token = bench.account(), bench.token()
    assert account.next_refresh_at is not None
    assert account.next_refresh_at < now + 3600
    assert token is not None
    assert token.expires_at is not None
    assert token.expires_at <= now + 3601


@pytest.mark.parametrize("ahead", ["issued_at", "expires_at"])
def test_a_row_from_the_future_that_is_sent_again_changes_nothing(asker: Asker, ahead: str) -> None:
    bench = asker.bench
    bench.add()
    now = bench.runtime.clock.now()
    fields = {
        "access_token": "new-access",
        "refresh_token": "new-refresh",
        "expires_in": 3600,
        ahead: now + 10_000,
    }
    asker.ask(Op.PATCH_ACCOUNT, account="acct", fields=fields)
    stored = bench.account()

    outcomes = [
        asker.ask(op, account="acct", fields=fields).result["outcome"]
        for op in (Op.PUT_ACCOUNT, Op.PATCH_ACCOUNT)
    ]

    assert outcomes == ["unchanged", "unchanged"]
    assert (bench.account().issued_at, bench.account().expires_at) == (stored.issued_at, stored.expires_at)
