"""A refresh token that is given without an access token: the access token of the grant before is published no more."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.integration.accounts.test_grants import GrantDesk, grant
from tests.integration.conftest import Bench
from tests.integration.intake.conftest import Asker
from tests.integration.intake.conftest import asker as asker  # noqa: PLC0414  (a fixture)
from worker.intake.requests import Code, Op


@pytest.fixture
def desk(bench: Bench) -> GrantDesk:
    return GrantDesk(bench)


def add_published(bench: Bench) -> float:
    """Store an account that is well for long, and publish it; returns the time."""
    now = bench.runtime.clock.now()
    bench.add(expires_at=now + 3000, next_refresh_at=now + 2700, plan_at=now + 2700)
    reconcile(bench)
    return now


def reconcile(bench: Bench) -> None:
    bench.runtime.run(bench.runtime.reconciler.reconcile())


def published(bench: Bench) -> tuple[str, int] | None:
    token = bench.token()
    return None if token is None else (token.access_token, token.generation)


def test_a_grant_without_an_access_token_publishes_none_of_the_grant_before(
    bench: Bench, desk: GrantDesk
) -> None:
    add_published(bench)
    bench.answer = lambda _: httpx.Response(503)

    desk.store.store_one(grant(access_token=None))
    reconcile(bench)
    bench.refresh(seen=2)  # the provider is away for a while
    reconcile(bench)

    assert published(bench) == ("old-access", 1)
    account = bench.account()
    assert (account.access_token_sealed, account.issued_at, account.expires_at) == (None, None, None)


def test_a_grant_without_an_access_token_is_published_once_it_is_refreshed(
    bench: Bench, desk: GrantDesk
) -> None:
    add_published(bench)
    body = {"access_token": "refreshed", "expires_in": 3600}
    bench.answer = lambda _: httpx.Response(200, json=body)

    desk.store.store_one(grant(access_token=None))
    bench.refresh(seen=2)

    assert b"refresh_token=new-refresh" in bench.requests[0].content
    assert published(bench) == ("refreshed", 3)


def test_the_stored_refresh_token_alone_leaves_its_access_token(bench: Bench, desk: GrantDesk) -> None:
    add_published(bench)

    desk.put(grant(access_token=None, refresh_token="old-refresh"))
    reconcile(bench)

    assert published(bench) == ("old-access", 2)
    assert bench.account().expires_at is not None


@pytest.mark.parametrize("op", [Op.PATCH_ACCOUNT, Op.PUT_ACCOUNT])
def test_a_row_with_a_refresh_token_alone_is_refreshed_at_once(asker: Asker, op: Op) -> None:
    bench = asker.bench
    now = add_published(bench)
    fields: dict[str, Any] = {"refresh_token": "of-the-new-owner", "issued_at": now}

    assert asker.ask(op, account="acct", fields=fields).code is Code.DONE
    reconcile(bench)

    account = bench.account()
    assert account.generation == 2
    assert account.next_refresh_at is not None
    assert account.next_refresh_at <= bench.runtime.clock.now() + 1
    assert published(bench) == ("old-access", 1)


def test_a_row_with_the_stored_refresh_token_changes_nothing(asker: Asker) -> None:
    bench = asker.bench
    add_published(bench)

    reply = asker.ask(Op.PATCH_ACCOUNT, account="acct", fields={"refresh_token": "old-refresh"})

    assert reply.result["outcome"] == "unchanged"
    assert bench.account().access_token_sealed is not None
