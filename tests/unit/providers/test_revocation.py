"""Which grants can be ended at the address that a provider's data names (RFC 7009)."""

from __future__ import annotations

import pytest

from models.providers.presets import load_presets
from models.refresh_request import RefreshRequest
from tests.support.providers.provider_double import NOW, account, provider
from worker.providers.revocation import Revocation, revocation_request

OKTA = load_presets()["okta"]
DEFAULT_SERVER = "https://acme.okta.com/oauth2/default/v1/token"


@pytest.mark.parametrize(
    ("token_url", "goes_to"),
    [
        (None, "https://acme.okta.com/oauth2/v1/revoke"),
        ("https://acme.okta.com/oauth2/v1/token", "https://acme.okta.com/oauth2/v1/revoke"),
        (DEFAULT_SERVER, None),
        ("https://login.acme.example/oauth2/v1/token", None),
    ],
)
def test_a_server_is_not_asked_to_end_what_another_one_issued(
    token_url: str | None, goes_to: str | None
) -> None:
    """It would answer 200 to a token that it does not know, and the grant would live on."""
    wanted = revocation_request(account(OKTA, token_url=token_url, custom={"subdomain": "acme"}), now=NOW)
    assert (wanted.provider.token_url if isinstance(wanted, RefreshRequest) else None) == goes_to
    assert goes_to is not None or wanted is Revocation.UNSUPPORTED


def test_an_account_s_own_address_belongs_to_its_own_server() -> None:
    url = "https://acme.okta.com/oauth2/default/v1/revoke"
    asked = account(
        OKTA.overridden({"revocation_url": url}), token_url=DEFAULT_SERVER, custom={"subdomain": "acme"}
    )
    wanted = revocation_request(asked, now=NOW, own_url=True)
    assert isinstance(wanted, RefreshRequest)
    assert wanted.provider.token_url == url


def test_a_provider_without_an_address_of_its_own_is_the_account_s() -> None:
    of = provider(token_url=None, revocation_url="https://auth.example.com/revoke")
    wanted = revocation_request(account(of, token_url="https://auth.example.com/token"), now=NOW)
    assert isinstance(wanted, RefreshRequest)
