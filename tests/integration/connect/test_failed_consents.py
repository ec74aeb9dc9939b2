"""A session that ends without a grant leaves its account as it was: configuration, grant, and need of a consent."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from models.tables.account import Status
from tests.integration.connect.conftest import Platform, granted, on_both
from worker.accounts.editor import Editor
from worker.db.engine import writing


def stored(platform: Platform, account_id: str = "one") -> tuple[object, ...]:
    account = platform.bench.account(account_id)
    return (
        account.model_dump(),
        platform.bench.refresh_token(account_id),
        platform.bench.runtime.sealer.custom_fields(account),
    )


def refused(platform: Platform, account_id: str = "one") -> None:
    """Do what workers do when the provider has ended a grant."""
    with writing(platform.bench.runtime.engine) as connection:
        connection.execute(
            text(
                "UPDATE account SET status = 'reauthorize', reason = 'invalid_grant', next_refresh_at = NULL,"
                " plan_at = NULL WHERE id = :id"
            ),
            {"id": account_id},
        )


@pytest.fixture
def connected(platform: Platform) -> Platform:
    """Two clients, and an account that one of them has connected."""
    platform.add_client("crm-two", client_id="app-2")
    platform.bench.answer = lambda _: granted(1)
    platform.connected(platform.open("one"))
    return platform


@on_both
def test_a_grant_that_another_account_has_changes_nothing(connected: Platform) -> None:
    connected.bench.answer = lambda _: granted(2)
    connected.connected(connected.open("two", client="crm-two"))
    before = stored(connected)
    query = connected.connected(connected.open("one", client="crm-two", scope="wide"))
    assert (query["status"], query["reason"]) == ("failed", "grant_in_use")
    assert stored(connected) == before


def test_another_client_s_grant_without_a_refresh_token_changes_nothing(connected: Platform) -> None:
    """The one that is stored is the client's before."""
    before = stored(connected)
    connected.bench.answer = lambda _: granted(3, refresh_token=None)
    query = connected.connected(connected.open("one", client="crm-two"))
    assert (query["status"], query.get("reason")) == ("failed", "no_refresh_token")
    assert stored(connected) == before


def test_a_redirect_can_not_name_the_host_that_gets_the_client_s_secret(platform: Platform) -> None:
    """Zoho's redirect names the customer's data centre, and any browser can write what stands there."""
    platform.add_client("crm-z", provider="zoho-crm", client_id="app-z")
    platform.consent_page = "https://accounts.zoho.com/oauth/v2/auth?"
    redirect = {"accounts-server": "https://attacker.example"}
    query = platform.connected(platform.open("zed", client="crm-z"), **redirect)  # type: ignore[arg-type]
    assert (query["status"], query["reason"]) == ("failed", "misconfigured")
    assert platform.bench.requests == []


@pytest.mark.parametrize(
    ("wanted", "redirect"),
    [
        ({}, {}),
        ({"scope": "wide"}, {}),
        ({"custom_fields": {"a": "b"}}, {}),
        ({"client": "crm-two"}, {}),
        ({}, {"realm": "17"}),
    ],
)
def test_a_refused_refresh_token_is_not_taken_for_a_new_one(
    connected: Platform, wanted: dict[str, Any], redirect: dict[str, Any]
) -> None:
    refused(connected)
    before = stored(connected)
    connected.bench.answer = lambda _: granted(3, refresh_token=None)
    query = connected.connected(connected.open("one", **wanted), **redirect)
    assert (query["status"], query.get("reason")) == ("failed", "no_refresh_token")
    assert stored(connected) == before


@on_both
def test_an_account_that_moves_to_another_client_is_stored_with_its_grant(connected: Platform) -> None:
    refused(connected)
    connected.bench.answer = lambda _: granted(3)
    session = connected.open("one", client="crm-two", custom_fields={"a": "b"})
    assert connected.connected(session)["status"] == "connected"
    account = connected.bench.account("one")
    assert (account.client, account.client_id, account.status) == ("crm-two", "app-2", Status.ACTIVE)
    assert connected.bench.refresh_token("one") == "marker-refresh-3"
    found = connected.sessions.find(session.id)
    assert found is not None
    assert found.outcome == "reconnected"


def test_a_grant_without_a_refresh_token_keeps_the_stored_one_of_the_same_client(connected: Platform) -> None:
    connected.bench.answer = lambda _: granted(3, refresh_token=None)
    query = connected.connected(connected.open("one", custom_fields={"a": "b"}))
    assert query["status"] == "connected"
    assert connected.bench.refresh_token("one") == "marker-refresh-1"


def moved_once(platform: Platform, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Have a statement change the account between being read and being stored, the first time."""
    prepared = Editor.prepared
    moved: list[bool] = []

    def move(self: Editor, *given: Any) -> Any:
        found = prepared(self, *given)
        if not moved:
            moved.append(True)
            with writing(platform.bench.runtime.engine) as connection:
                connection.execute(text(statement))
        return found

    monkeypatch.setattr(Editor, "prepared", move)


def test_an_account_that_is_edited_while_its_grant_is_stored_keeps_both(
    connected: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session's changes are applied anew to the account as it is then."""
    moved_once(
        connected,
        monkeypatch,
        "UPDATE account SET server_url = 'https://own.example', config_version = config_version + 1",
    )
    connected.bench.answer = lambda _: granted(3)
    query = connected.connected(connected.open("one", client="crm-two"))
    account = connected.bench.account("one")
    assert (query["status"], account.server_url, account.client) == (
        "connected",
        "https://own.example",
        "crm-two",
    )


def test_an_account_that_becomes_another_tenant_s_meanwhile_is_left_alone(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"tenant": "a"}
    platform.add_client("crm-two", client_id="app-2")
    platform.connected(platform.open("one", labels=labels, key_labels=labels))
    moved_once(platform, monkeypatch, 'UPDATE account SET labels = \'{"tenant": "b"}\'')
    platform.bench.answer = lambda _: granted(3)
    query = platform.connected(platform.open("one", client="crm-two", key_labels=labels))
    account = platform.bench.account("one")
    assert (query["status"], query["reason"]) == ("failed", "not_stored")
    assert (account.client, account.labels) == ("crm-app", '{"tenant": "b"}')
