"""Where an account's credentials may go is its provider's word, asked when the account is stored and at each call."""

from __future__ import annotations

import pytest

from tests.integration.accounts.conftest import ALLOWED_HTTP, AccountServices, acme
from worker.accounts.entry import RowRefused

EVIL = "https://evil.example/token"


@pytest.mark.parametrize("field", ["token_url", "refresh_url"])
def test_a_url_elsewhere_is_refused_with_what_to_do(desk: AccountServices, field: str) -> None:
    """The column, and a knob of the account's own."""
    row = acme(provider="google", token_url=None) | {field: EVIL}
    with pytest.raises(
        RowRefused, match=r"evil\.example is none of the hosts of google .*REFRESHD_PROVIDERS_FILE"
    ):
        desk.add(row)


def test_an_edit_is_asked_the_same(desk: AccountServices) -> None:
    account = desk.add(acme(provider="google", token_url=None)).account
    with pytest.raises(RowRefused, match="none of the hosts"):
        desk.change(account, {"token_url": EVIL})


@pytest.mark.parametrize(
    "url", ["https://accounts.google.com/o/oauth2/token", f"http://{ALLOWED_HTTP}/token"]
)
def test_another_address_of_the_provider_and_a_host_that_the_operator_named_pass(
    desk: AccountServices, url: str
) -> None:
    desk.add(acme(provider="google", token_url=url))


def test_an_account_can_not_name_hosts(desk: AccountServices) -> None:
    with pytest.raises(RowRefused, match="hosts: only the provider's data"):
        desk.add(acme(hosts=["*"]))


def test_a_callback_is_given_its_url_and_knows_where_to_ask(desk: AccountServices) -> None:
    desk.add(acme(provider="google", token_url=EVIL, refresh_method="callback", callback="mine"))
