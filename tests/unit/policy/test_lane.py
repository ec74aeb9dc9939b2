"""Which accounts pass the same gates: those of one origin, and of one client at one token endpoint."""

from __future__ import annotations

import pytest

from models.providers import Provider
from models.refresh_request import RefreshRequest
from models.tables.account import Account, RefreshMethod
from models.token import Secret
from worker.policy.lane import Lane, is_clients, lane_of, origin_of_gate

FIXED = Provider.model_validate({"name": "acme", "token_url": "https://login.acme.example/token"})
PATHS = Provider.model_validate(
    {"name": "acme", "token_url": "https://login.acme.example/${custom.tenant}/token"}
)
TENANTS = Provider.model_validate(
    {"name": "acme", "token_url": "https://${custom.tenant}.acme.example/token"}
)
NOWHERE = Provider(name="generic")


def lane(
    provider: Provider = FIXED,
    *,
    options: dict[str, object] | None = None,
    token_url: str | None = None,
    client_id: str = "client",
    secret: str = "s",  # noqa: S107
    client_auth: str | None = None,
) -> Lane:
    account = Account(id="a", provider="acme", token_url=token_url, client_id=client_id, callback="mine")
    request = RefreshRequest(
        account_id="a",
        provider=provider.for_account(options or {}),
        token_url=token_url,
        client_id=client_id,
        client_secret=Secret(secret),
        client_auth=client_auth,
        custom_fields={"tenant": Secret("t1")},
    )
    return lane_of(account, RefreshMethod.BODY, request)


@pytest.mark.parametrize(
    ("provider", "options", "token_url", "origin"),
    [
        (FIXED, {}, None, "https://login.acme.example"),
        (PATHS, {}, None, "https://login.acme.example"),
        (FIXED, {}, "https://LOGIN.acme.example:443/other", "https://login.acme.example"),
        (FIXED, {}, "https://login.acme.example:8443/token", "https://login.acme.example:8443"),
        (FIXED, {}, "http://login.acme.example/token", "http://login.acme.example"),
        (FIXED, {}, "http://login.acme.example:443/token", "http://login.acme.example:443"),
        (FIXED, {}, "https://[::1]:9000/token", "https://[::1]:9000"),
        (FIXED, {}, "https://eu.acme.example/token", "https://eu.acme.example"),
        (TENANTS, {}, None, "https://t1.acme.example"),
        (NOWHERE, {"refresh_url": "https://t2.example/token"}, None, "https://t2.example"),
        (NOWHERE, {}, "https://${custom.missing}.example/token", "provider:acme"),  # nothing can be sent
        (NOWHERE, {}, "https://a}b{.example/token", "provider:acme"),
        (NOWHERE, {}, "no url", "provider:acme"),
        (NOWHERE, {}, "https://host.example:port/token", "provider:acme"),
        (NOWHERE, {}, None, "provider:acme"),
    ],
)
def test_an_origin_is_scheme_host_and_port(
    provider: Provider, options: dict[str, object], token_url: str | None, origin: str
) -> None:
    assert lane(provider, options=options, token_url=token_url).origin == origin


@pytest.mark.parametrize(
    "other",
    [
        {"client_id": "another"},
        {"secret": "another"},
        {"client_auth": "basic"},
        {"token_url": "https://login.acme.example/another"},
    ],
)
def test_a_client_is_one_secret_and_one_way_to_prove_it_at_one_endpoint(other: dict[str, str]) -> None:
    base = {"token_url": "https://login.acme.example/token"}
    one, another = lane(**base), lane(**(base | other))  # type: ignore[arg-type]
    assert one.gates[0] == another.gates[0]
    assert one.gates[1] != another.gates[1]


def test_a_callback_is_an_origin_of_its_own() -> None:
    account = Account(id="a", provider="acme", callback="mine")
    assert lane_of(account, RefreshMethod.CALLBACK, None).origin == "callback:mine"


def test_a_gate_s_name_tells_its_origin_and_whether_it_is_a_client_s() -> None:
    origin, client = lane().gates
    assert [origin_of_gate(name) for name in (origin, client)] == ["https://login.acme.example"] * 2
    assert [is_clients(name) for name in (origin, client)] == [False, True]
    assert "secret" not in client
