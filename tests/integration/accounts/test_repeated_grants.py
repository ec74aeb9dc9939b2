"""Grants and rows that are sent again because their answer was lost: no spent refresh token is put back, or sent."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.integration.accounts.test_grants import GrantDesk, grant
from tests.integration.conftest import Bench
from tests.integration.intake.conftest import ACME, Asker
from tests.integration.intake.conftest import asker as asker  # noqa: PLC0414  (a fixture)
from tests.support.providers.rotating_provider import RotatingProvider
from worker.db.engine import writing
from worker.intake.requests import Code, Op

GIVEN = {"access_token": "new-access", "refresh_token": "consented", "expires_in": 3600}


def make_due(bench: Bench, **values: Any) -> None:
    """Make the account due, and write other columns of it."""
    values = {"next_refresh_at": 1.0, "plan_at": 1.0, **values}
    sets = ", ".join(f"{name} = :{name}" for name in values)
    with writing(bench.runtime.engine) as connection:
        connection.execute(text(f"UPDATE account SET {sets}"), values)  # noqa: S608  (names of ours)


def refreshed(bench: Bench) -> None:
    make_due(bench)
    bench.refresh(seen=bench.account().generation)


@pytest.fixture
def desk(bench: Bench) -> GrantDesk:
    return GrantDesk(bench)


@pytest.mark.parametrize("access_token", [None, "new-access"])
def test_a_grant_that_is_sent_twice_puts_no_spent_refresh_token_back(
    bench: Bench, desk: GrantDesk, access_token: str | None
) -> None:
    provider = RotatingProvider("consented")
    bench.answer = provider
    bench.add()
    sent = grant(refresh_token="consented", access_token=access_token)
    first = desk.store.store_one(sent)
    refreshed(bench)
    assert bench.refresh_token() == "rotated-1"

    again = desk.store.store_one(sent)

    account = bench.account()
    assert bench.refresh_token() == "rotated-1"
    assert (again.repeated, again.outcome, again.events) == (True, first.outcome, ())
    assert again.as_json(published=True)["generation"] == account.generation == first.account.generation + 1
    refreshed(bench)
    assert provider.alive is not None
    assert bench.account().status == "active"


def test_a_grant_that_is_sent_twice_leaves_the_refreshed_access_token_in_redis(
    bench: Bench, desk: GrantDesk
) -> None:
    bench.add()
    body = {"access_token": "refreshed-access", "expires_in": 3600}  # the refresh token stays
    bench.answer = lambda _: httpx.Response(200, json=body)
    desk.put(grant())
    refreshed(bench)

    (again,) = desk.put(grant())

    assert not isinstance(again, BaseException)
    assert (again.stored.repeated, again.published) == (True, True)
    token = bench.token()
    assert token is not None
    assert (token.access_token, token.generation) == ("refreshed-access", 3)


def test_a_grant_that_the_provider_refused_since_is_stored_again(bench: Bench, desk: GrantDesk) -> None:
    bench.answer = RotatingProvider("consented")
    bench.add()
    desk.store.store_one(grant(refresh_token="consented"))
    refreshed(bench)
    make_due(bench, status="reauthorize")

    again = desk.store.store_one(grant(refresh_token="consented"))

    assert (again.repeated, again.outcome.value) == (False, "reconnected")
    assert bench.refresh_token() == "consented"


def test_a_grant_of_the_account_s_refreshed_refresh_token_is_a_new_one(bench: Bench, desk: GrantDesk) -> None:
    """Some providers answer another consent with the refresh token of the first."""
    bench.add()
    desk.store.store_one(grant())

    again = desk.store.store_one(grant(access_token="another-access"))

    assert not again.repeated
    assert bench.account().generation == 3


def test_a_grant_that_was_tried_and_stored_is_not_tried_with_its_spent_token_again(asker: Asker) -> None:
    provider = RotatingProvider("consented")
    asker.bench.answer = provider
    asker.bench.add()
    first = asker.ask(Op.VERIFY_GRANT, account="acct", fields=GIVEN)
    assert first.code is Code.DONE

    again = asker.ask(Op.VERIFY_GRANT, account="acct", fields=GIVEN)

    assert provider.sent == ["consented"]
    assert provider.alive == asker.bench.refresh_token() == "rotated-1"
    assert (again.code, again.result) == (Code.DONE, first.result | {"published": again.result["published"]})


@pytest.mark.parametrize("op", [Op.PUT_ACCOUNT, Op.PATCH_ACCOUNT])
def test_a_row_that_is_sent_twice_puts_no_spent_refresh_token_back(asker: Asker, op: Op) -> None:
    bench, provider = asker.bench, RotatingProvider("consented")
    bench.answer = provider
    bench.add()
    fields = {**GIVEN, "issued_at": bench.runtime.clock.now()}
    assert asker.ask(op, account="acct", fields=fields).code is Code.DONE
    refreshed(bench)
    refreshed(bench)
    stored = bench.refresh_token()
    assert stored == provider.alive

    reply = asker.ask(op, account="acct", fields=fields)

    assert bench.refresh_token() == stored
    assert reply.result["outcome"] == "kept_newer"


def given_and_refreshed(asker: Asker) -> Bench:
    """Have a row with a grant taken, and refreshed once."""
    bench = asker.bench
    bench.answer = RotatingProvider("consented")
    bench.add()
    asker.ask(Op.PATCH_ACCOUNT, account="acct", fields=GIVEN)
    refreshed(bench)
    return bench


def test_a_row_that_is_sent_again_changes_the_rest_of_its_account(asker: Asker) -> None:
    bench = given_and_refreshed(asker)
    reply = asker.ask(Op.PATCH_ACCOUNT, account="acct", fields={**GIVEN, "session_timeout_s": 60})

    assert bench.refresh_token() == "rotated-1"
    assert reply.result["changed"] == ["session_timeout_s"]


def test_a_row_with_a_token_that_was_never_seen_is_taken(asker: Asker) -> None:
    bench = given_and_refreshed(asker)
    asker.ask(Op.PATCH_ACCOUNT, account="acct", fields={"refresh_token": "of-another-consent"})

    assert bench.refresh_token() == "of-another-consent"


def test_a_grant_that_a_row_has_replaced_is_stored_again(asker: Asker) -> None:
    bench = asker.bench
    bench.add()
    asker.ask(Op.PUT_GRANT, account="acct", fields=GIVEN)
    asker.ask(Op.PATCH_ACCOUNT, account="acct", fields={"refresh_token": "of-a-row"})

    reply = asker.ask(Op.PUT_GRANT, account="acct", fields=GIVEN)

    assert reply.result["outcome"] == "replaced"
    assert bench.refresh_token() == "consented"


def test_an_account_that_is_made_anew_knows_no_grant_of_the_one_before(asker: Asker) -> None:
    bench = asker.bench
    bench.add()
    asker.ask(Op.PUT_GRANT, account="acct", fields=GIVEN)
    asker.ask(Op.REMOVE_ACCOUNT, account="acct")
    asker.ask(Op.PUT_ACCOUNT, account="acct", fields={**ACME, "refresh_token": "of-a-row"})

    asker.ask(Op.PUT_GRANT, account="acct", fields=GIVEN)

    assert bench.refresh_token() == "consented"
