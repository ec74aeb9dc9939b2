"""Clients in the database: one row for all accounts that name it, never written over a newer one."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from models.tables.client import Client, write_urls
from worker.db.accounts.clients import Clients
from worker.db.accounts.filter import Filter
from worker.db.accounts.stored import Accounts, blank


@pytest.fixture
def clients(engine: Engine) -> Clients:
    return Clients(engine)


def new(name: str, **columns: Any) -> Client:
    return Client(name=name, **{"provider": "acme", "client_id": f"id-{name}", **columns})


def test_a_client_comes_back_as_it_was_stored(clients: Clients) -> None:
    one = new(
        "crm",
        client_secret_sealed="v1.k.x",
        client_auth="basic",
        token_url="https://acme.example/token",
        return_urls=write_urls(["https://app.example/back"]),
        secret_expires_at=1790000000.5,
        created_at=1.0,
    )
    assert clients.save(one, seen=None)
    found = clients.find(["crm", "other"])["crm"]
    assert found.model_dump() == one.model_dump()
    assert found.urls == ["https://app.example/back"]
    assert [client.name for client in clients.all()] == ["crm"]


def test_a_name_that_is_taken_is_not_stored_again(clients: Clients) -> None:
    assert clients.save(new("crm"), seen=None)
    assert not clients.save(new("crm", client_id="other"), seen=None)
    assert clients.find(["crm"])["crm"].client_id == "id-crm"


def test_a_change_is_refused_over_a_row_that_was_changed_meanwhile(clients: Clients) -> None:
    clients.save(new("crm"), seen=None)
    assert clients.save(new("crm", client_id="second", version=2), seen=1)
    assert not clients.save(new("crm", client_id="late", version=2), seen=1)
    assert clients.find(["crm"])["crm"].client_id == "second"


def test_a_client_that_accounts_name_is_kept_unless_it_is_asked_for(engine: Engine, clients: Clients) -> None:
    clients.save(new("crm"), seen=None)
    accounts = Accounts(engine)
    accounts.save([blank("a", provider="acme", client="crm"), blank("b", provider="acme")])
    assert [one.id for one in accounts.all(Filter(client="crm"))] == ["a"]
    assert clients.accounts() == {"crm": 1}
    assert clients.remove("crm") == 1
    assert clients.find(["crm"])
    assert clients.remove("crm", even_if_used=True) == 1
    assert clients.find(["crm"]) == {}
    assert clients.remove("crm") is None


def test_a_client_that_no_account_names_is_removed(clients: Clients) -> None:
    clients.save(new("crm"), seen=None)
    assert clients.remove("crm") == 0
    assert clients.find(["crm"]) == {}
