"""An account that names a client is never configured without it."""

from __future__ import annotations

import pytest

from models.tables.client import Client
from tests.integration.accounts.conftest import AccountServices, acme
from worker.accounts.apply import Intent
from worker.accounts.configuration import configure
from worker.accounts.entry import RowRefused, read_entry
from worker.accounts.unsealed import UnsealedAccount


def test_without_the_client_it_names_nothing_of_it_is_changed(desk: AccountServices) -> None:
    account = desk.add(acme()).account
    vars(account)["client"] = "crm"
    with pytest.raises(RowRefused, match="client: no client 'crm' is stored"):
        desk.change(account, {"scope": "x", "token_url": "https://other.example/t"}, intent=Intent.PERSON)
    assert (account.client, account.client_id) == ("crm", "client")


def test_another_client_than_the_one_it_names_is_refused(desk: AccountServices) -> None:
    opened = UnsealedAccount(desk.add(acme()).account, desk.sealer)
    entry = read_entry({"id": "acme-1", "client": "crm"})
    with pytest.raises(RowRefused, match="client"):
        configure(opened, entry, Client(name="erp", provider="acme"))
