"""A key that writes accounts gets no host of its own choice the secret of a client that `admin` stored."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from models.tables.api_key import ApiScope
from models.tables.attempt import Outcome
from models.tables.issuer import IssuerMetadata
from tests.integration.api.conftest import Desk
from worker.policy.reasons.correction import TOKEN_URL_HOST_NOT_ALLOWED

ELSEWHERE = "https://attacker.example"
IDP = "https://idp.example/token"
ISSUER = "https://as.example.com"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Return one database: nothing here depends on which."""
    return sqlite_url


def read_metadata(desk: Desk, issuer: str) -> None:
    document = {"issuer": issuer, "token_endpoint": f"{issuer}/token", "source": f"{issuer}/x"}
    now = desk.bench.runtime.clock.now()
    desk.bench.runtime.issuers.save(
        IssuerMetadata(issuer=issuer, document=json.dumps(document), read_at=now, asked_at=now)
    )


async def put(desk: Desk, account: str, **fields: Any) -> httpx.Response:
    body = {"client": "shared", "refresh_token": f"r-{account}", **fields}
    async with desk.client(ApiScope.ACCOUNTS_WRITE, labels={"tenant": "other"}) as client:
        return await client.put(f"/v1/accounts/{account}", json=body)


@pytest.mark.parametrize(
    ("client", "account"),
    [
        ({"provider": "generic", "token_url": IDP}, {"token_url": f"{ELSEWHERE}/t"}),
        ({"provider": "acme", "token_url": None}, {"token_url": f"{ELSEWHERE}/t"}),
        ({"provider": "gitlab", "token_url": None}, {"token_url": f"{ELSEWHERE}/t"}),
        ({"provider": "gitlab", "token_url": None}, {"custom_fields": {"hostname": "attacker.example"}}),
        ({"provider": "salesforce", "token_url": None}, {"custom_fields": {"hostname": "attacker.example"}}),
        ({"provider": "hubspot", "token_url": None}, {"token_url": f"{ELSEWHERE}/t"}),
        ({"provider": "hubspot", "token_url": None}, {"provider": "generic", "token_url": f"{ELSEWHERE}/t"}),
        ({"provider": "hubspot", "token_url": None}, {"provider": "issuer", "issuer": ELSEWHERE}),
        ({"provider": "issuer", "issuer": ISSUER, "token_url": None}, {"token_url": f"{ELSEWHERE}/t"}),
        (
            {"provider": "acme", "token_url": None},
            {"token_url": f"{ELSEWHERE}/t", "refresh_method": "callback", "callback": "mine"},
        ),
    ],
)
async def test_an_account_of_a_client_can_not_name_a_host(
    desk: Desk, client: dict[str, Any], account: dict[str, Any]
) -> None:
    read_metadata(desk, ELSEWHERE)
    desk.bench.add_client("shared", **client)
    answer = await put(desk, "x", **account)
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert "the secret of client shared" in error["reason"]
    assert "client's token_url" in error["reason"]
    assert "`hosts` of this provider" in error["reason"]


@pytest.mark.parametrize(
    ("client", "account"),
    [
        ({"provider": "generic", "token_url": IDP}, {}),
        ({"provider": "generic", "token_url": IDP}, {"token_url": "https://idp.example/of-its-own"}),
        ({"provider": "gitlab", "token_url": None}, {}),
        ({"provider": "gitlab", "token_url": IDP}, {"custom_fields": {"hostname": "idp.example"}}),
        ({"provider": "zendesk", "token_url": None}, {"custom_fields": {"subdomain": "acme"}}),
        ({"provider": "issuer", "issuer": ISSUER, "token_url": None}, {}),
    ],
)
async def test_an_account_of_a_client_names_a_host_that_others_have_named(
    desk: Desk, client: dict[str, Any], account: dict[str, Any]
) -> None:
    read_metadata(desk, ISSUER)
    desk.bench.add_client("shared", **client)
    answer = await put(desk, "x", **account)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    "stored",
    [
        {"token_url": f"{ELSEWHERE}/t"},
        {"provider": "issuer", "token_url": None, "knobs": json.dumps({"issuer": ELSEWHERE})},
    ],
)
async def test_an_account_that_was_stored_before_is_not_refreshed_elsewhere(
    desk: Desk, stored: dict[str, Any]
) -> None:
    bench = desk.bench
    read_metadata(desk, ELSEWHERE)
    bench.add_client("shared", token_url=IDP)
    bench.add(client="shared", client_secret_sealed=None, **stored)
    result = bench.refresh()["acct"]
    assert (result.outcome, result.reason) == (Outcome.MISCONFIGURED, TOKEN_URL_HOST_NOT_ALLOWED)
    assert bench.requests == []
