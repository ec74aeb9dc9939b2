"""An account of a client whose server is known by its issuer: both name the same one."""

from __future__ import annotations

import pytest

from models.tables.account import Account
from models.tables.client import Client
from worker.accounts.configuration import configure
from worker.accounts.entry import RowRefused, read_entry
from worker.accounts.unsealed import UnsealedAccount
from worker.crypto.sealer import AccountSealer

ISSUER = "https://as.example.com"


def configured(sealer: AccountSealer, issuer: str) -> list[str]:
    account = Account(id="a", provider="issuer", client="crm")
    entry = read_entry({"id": "a", "client": "crm", "issuer": issuer})
    client = Client(name="crm", provider="issuer", client_id="c", issuer=ISSUER)
    return configure(UnsealedAccount(account, sealer), entry, client)


@pytest.mark.parametrize("issuer", [ISSUER, f"{ISSUER}/"])
def test_the_slash_that_is_an_issuer_s_whole_path_makes_no_other_one(
    sealer: AccountSealer, issuer: str
) -> None:
    assert "issuer" in configured(sealer, issuer)


@pytest.mark.parametrize("issuer", [f"{ISSUER}/tenant", "https://other.example.com"])
def test_another_issuer_is_refused_by_the_client_s(sealer: AccountSealer, issuer: str) -> None:
    with pytest.raises(RowRefused, match=rf"issuer.*'crm' is one of {ISSUER}: leave it out"):
        configured(sealer, issuer)
