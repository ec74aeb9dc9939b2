"""What one issuer's server says ends no other account's refresh, grant or change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from models.providers import Provider
from models.tables.account import Account, RefreshMethod, Status
from models.tables.client import FROM_THE_FIRST
from models.tables.issuer import IssuerMetadata
from tests.integration.api.conftest import Desk
from tests.integration.conftest import Bench
from worker.db.engine import writing
from worker.diagnostics.explain.gather import gather
from worker.diagnostics.explain.rules.registration import metadata
from worker.issuers.caller import IssuerCaller
from worker.providers import registry
from worker.providers.discovery.fetch import DocumentClient
from worker.providers.discovery.metadata import DiscoveryFailed, ServerMetadata

ISSUER = "https://as.example.com"
on_both = pytest.mark.parametrize("database_url", ["sqlite_url", "postgres_url"], indirect=True)
DOCUMENT: dict[str, Any] = {
    "issuer": ISSUER,
    "token_endpoint": f"{ISSUER}/token",
    "source": f"{ISSUER}/.well-known/oauth-authorization-server",
}
UNKNOWN = {**DOCUMENT, "token_endpoint_auth_methods_supported": ["foo"]}
#: Documents that an earlier version, or another hand, may have stored.
UNUSABLE = [
    json.dumps(UNKNOWN),
    json.dumps({**DOCUMENT, "token_endpoint": "https://${account.x"}),
    "{}",
    "no JSON",
]


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLite, or what a test names."""
    url: str = request.getfixturevalue(getattr(request, "param", "sqlite_url"))
    return url


def stored(bench: Bench, document: str) -> None:
    now = bench.runtime.clock.now()
    bench.runtime.issuers.save(IssuerMetadata(issuer=ISSUER, document=document, read_at=now, asked_at=now))
    bench.runtime.issuer_providers.forget(ISSUER)


def neighbours(bench: Bench) -> None:
    """Add an account of the issuer, and one of another tenant."""
    bench.add(
        "theirs", provider="issuer", token_url=None, knobs=f'{{"issuer": "{ISSUER}"}}', refresh_token="t"
    )
    bench.add("other-tenant", refresh_token="o")
    bench.answer = granted


def granted(request: httpx.Request) -> httpx.Response:
    return httpx.Response(
        200, json={"access_token": "a", "refresh_token": f"new-{request.url.host}", "expires_in": 3600}
    )


async def refreshed(bench: Bench, *ids: str) -> dict[str, str]:
    found = await asyncio.wrap_future(bench.begin_refresh(*ids))
    return {account: one.outcome.value for account, one in found.items()}


@pytest.mark.parametrize("document", UNUSABLE)
async def test_issuer_whose_stored_metadata_can_t_be_used_is_a_reason_of_its_own_accounts_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, document: str
) -> None:
    bench = desk.bench
    neighbours(bench)
    stored(bench, document)
    away = DocumentClient(transport=httpx.MockTransport(lambda _: httpx.Response(404)))
    monkeypatch.setattr(bench.runtime, "document_client", lambda: away)

    assert (await refreshed(bench, "theirs", "other-tenant"))["other-tenant"] == "refreshed"
    async with desk.client() as client:
        grants = [
            client.put(f"/v1/accounts/{one}/grant", json={"access_token": "x", "refresh_token": f"r-{one}"})
            for one in ("theirs", "other-tenant")
        ]
        assert [one.status_code for one in await asyncio.gather(*grants)] == [200, 200]
        assert (await client.get("/v1/accounts/theirs/explain")).status_code == 200
        assert (await client.patch("/v1/accounts/theirs", json={"scope": "s"})).status_code < 500
        row = {
            "provider": "issuer",
            "issuer": ISSUER,
            "client_id": "c",
            "client_auth": "none",
            "refresh_token": "q",
        }
        assert (await client.put("/v1/accounts/new", json=row)).status_code < 500


async def test_account_of_an_unusable_issuer_says_so_and_is_explained(desk: Desk) -> None:
    bench = desk.bench
    neighbours(bench)
    stored(bench, json.dumps(UNKNOWN))
    with writing(bench.runtime.engine) as connection:
        connection.execute(text("UPDATE issuer_metadata SET asked_at = 1"))
    documents = DocumentClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=UNKNOWN)))
    callers: Any = bench.runtime.callers
    callers[RefreshMethod.BODY] = IssuerCaller(
        callers[RefreshMethod.BODY], documents, bench.runtime.issuer_reader
    )

    await refreshed(bench, "theirs")

    account = bench.account("theirs")
    assert (account.status, account.reason) == (Status.MISCONFIGURED, "no_metadata")
    [found] = await asyncio.to_thread(lambda: list(metadata(gather(bench.runtime, "theirs", workers=dict))))
    assert "none of its ways to authenticate clients is known" in found.message


def test_metadata_that_can_t_be_used_are_not_stored(bench: Bench) -> None:
    stored(bench, json.dumps(DOCUMENT))
    reader = bench.runtime.issuer_reader
    for keep in (reader.keep, reader.keep_checked):
        with pytest.raises(DiscoveryFailed, match="none of its ways"):
            keep(ServerMetadata.of_text(json.dumps(UNKNOWN)))
    row = bench.runtime.issuers.find(ISSUER)
    assert row is not None
    assert row.document == json.dumps(DOCUMENT)


def raises_for(account_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have looking for the provider of one account raise what nobody foresaw."""
    found = registry._with_knobs

    def with_knobs(provider: Provider, account: Account, knobs: Mapping[str, object]) -> Provider:
        if account.id == account_id:
            raise LookupError("a bug of ours")
        return found(provider, account, knobs)

    monkeypatch.setattr(registry, "_with_knobs", with_knobs)


@on_both
async def test_account_that_raises_before_its_call_holds_no_neighbour(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = desk.bench
    neighbours(bench)
    bench.add("broken", refresh_token="b")
    raises_for("broken", monkeypatch)

    assert await refreshed(bench, "broken", "other-tenant") == {
        "broken": "retry",
        "other-tenant": "refreshed",
    }

    account = bench.account("broken")
    assert (account.reason, account.failures, account.claim_attempt) == ("internal_error", 1, None)
    assert account.plan_at is not None
    desk.transport.raise_app_exceptions = False
    async with desk.client() as client:
        for _ in range(2):  # the first of several at once is stored alone
            answers = await asyncio.gather(
                *(
                    client.put(
                        f"/v1/accounts/{one}/grant", json={"access_token": "x", "refresh_token": f"r-{one}"}
                    )
                    for one in ("broken", "other-tenant", "theirs", "broken", "other-tenant")
                )
            )
            assert [one.status_code for one in answers] == [500, 200, 200, 500, 200]


def test_account_that_raises_keeps_no_change_of_its_client_from_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add_client(wake_after=FROM_THE_FIRST)
    for one in ("broken", "fine"):
        bench.add(one, client="crm", refresh_token=one, status=Status.MISCONFIGURED, reason="invalid_client")
    raises_for("broken", monkeypatch)
    bench.runtime.client_changes().take_over("crm")
    assert bench.account("fine").status == Status.ACTIVE
