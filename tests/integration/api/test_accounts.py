"""Accounts over HTTP: read, listed, written; what a key with labels sees of them."""

from __future__ import annotations

import httpx
import pytest

from models.tables.api_key import ApiScope
from tests.integration.api.conftest import Desk
from worker.providers.client import ProviderClient

READ, WRITE = ApiScope.ACCOUNTS_READ, ApiScope.ACCOUNTS_WRITE
NEW = {
    "provider": "acme",
    "token_url": "https://provider.example/token",
    "client_id": "client",
    "client_secret": "mkclientsecret",
    "refresh_token": "mkrefreshtoken",
}


async def test_an_account_is_created_changed_and_left_alone(desk: Desk) -> None:
    async with desk.client(WRITE, READ) as client:
        outcomes = [
            (await client.put("/v1/accounts/new-1", json=body))
            for body in (
                NEW,
                NEW,
                {"server_url": "https://api.example"},
                {"server_url": "https://api.example"},
            )
        ]
        assert [one.status_code for one in outcomes] == [201, 200, 200, 200]
        assert [one.json()["outcome"] for one in outcomes] == ["added", "unchanged", "changed", "unchanged"]
        found = (await client.get("/v1/accounts/new-1")).json()
    assert found["server_url"] == "https://api.example"
    assert found["has"] == {
        "client_secret": True,
        "access_token": False,
        "refresh_token": True,
        "custom_fields": False,
    }
    assert "mkclientsecret" not in str(found)


async def test_fields_that_cannot_be_stored_are_named_with_the_reasons_of_an_import(desk: Desk) -> None:
    async with desk.client(WRITE) as client:
        refused = await client.put(
            "/v1/accounts/new-1", json={**NEW, "session_managment": "auto", "expires_in": "x"}
        )
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["status"] == 422
    assert {one["field"] for one in problem["errors"]} >= {"session_managment"}
    assert "did you mean" in str(problem["errors"])


async def test_a_new_grant_replaces_the_stored_one_and_can_be_read_in_redis(desk: Desk) -> None:
    desk.bench.add("acct-1", status="reauthorize", reason="invalid_grant", next_refresh_at=None, plan_at=None)
    async with desk.client(WRITE) as client:
        done = await client.put(
            "/v1/accounts/acct-1/grant",
            json={
                "access_token": "new-access",
                "refresh_token": "new-refresh",
                "expires_in": 3600,
                "scope": "a b",
            },
        )
    assert done.status_code == 200, done.text
    assert done.json() | {"expires_at": 0, "next_refresh_at": 0} == {
        "account": "acct-1",
        "outcome": "reconnected",
        "generation": 2,
        "status": "active",
        "expires_at": 0,
        "next_refresh_at": 0,
        "published": True,
    }
    token = desk.bench.token("acct-1")
    assert token is not None
    assert (token.access_token, token.generation) == ("new-access", 2)
    assert desk.bench.refresh_token("acct-1") == "new-refresh"


async def test_a_grant_without_tokens_is_refused(desk: Desk) -> None:
    desk.bench.add("acct-1")
    async with desk.client(WRITE) as client:
        refused = await client.put("/v1/accounts/acct-1/grant", json={"expires_in": 3600})
        unknown = await client.put("/v1/accounts/nobody/grant", json={"access_token": "a"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "access_token")
    assert unknown.status_code == 404


async def test_a_list_is_paged_and_filtered(desk: Desk) -> None:
    for number in range(5):
        desk.bench.add(
            f"acct-{number}", status="active" if number else "degraded", refresh_token=f"r{number}"
        )
    async with desk.client(READ) as client:
        first = (await client.get("/v1/accounts", params={"limit": 2})).json()
        second = (
            await client.get("/v1/accounts", params={"limit": 2, "cursor": first["next_cursor"]})
        ).json()
        third = (
            await client.get("/v1/accounts", params={"limit": 2, "cursor": second["next_cursor"]})
        ).json()
        degraded = (await client.get("/v1/accounts?status=degraded")).json()
        later = (await client.get("/v1/accounts?changed_since=9999999999")).json()
        wrong = await client.get("/v1/accounts?labels.tenant=acme")
    ids = [[one["id"] for one in page["accounts"]] for page in (first, second, third, degraded, later)]
    assert ids == [["acct-0", "acct-1"], ["acct-2", "acct-3"], ["acct-4"], ["acct-0"], []]
    assert third["next_cursor"] is None
    assert wrong.status_code == 422


async def test_a_key_with_a_label_sees_and_touches_its_own_accounts_alone(desk: Desk) -> None:
    async with (
        desk.client(READ, WRITE) as anyone,
        desk.client(READ, WRITE, labels={"tenant": "acme"}) as acme,
    ):
        made = await acme.put("/v1/accounts/hers", json=NEW)
        assert made.status_code == 201, made.text
        other = {**NEW, "labels": {"tenant": "other"}, "refresh_token": "mkother"}
        assert (await anyone.put("/v1/accounts/other", json=other)).status_code == 201
        assert (await acme.get("/v1/accounts/hers")).json()["labels"] == {"tenant": "acme"}
        listed = (await acme.get("/v1/accounts")).json()["accounts"]
        assert [one["id"] for one in listed] == ["hers"]
        assert (await acme.get("/v1/accounts?label.tenant=other")).json()["accounts"] == []
        unseen, absent = [
            [
                await acme.get(f"/v1/accounts/{name}"),
                await acme.get(f"/v1/accounts/{name}/history"),
                await acme.get(f"/v1/accounts/{name}/explain"),
                await acme.put(
                    f"/v1/accounts/{name}/grant", json={"access_token": "x", "refresh_token": "y"}
                ),
                await acme.post(f"/v1/accounts/{name}/refresh", json={"force": True}),
                await acme.patch(f"/v1/accounts/{name}", json={"server_url": "https://x.example"}),
                await acme.delete(f"/v1/accounts/{name}"),
            ]
            for name in ("other", "absent")
        ]
        assert [one.status_code for one in unseen] == [404] * 7
        assert [one.json() for one in unseen] == [one.json() for one in absent]
        assert (await anyone.get("/v1/accounts/other")).json()["generation"] <= 1


async def test_every_change_is_in_the_audit_trail_under_the_keys_name(desk: Desk) -> None:
    async with desk.client(name="billing") as client:
        await client.put("/v1/accounts/new-1", json=NEW)
        await client.put("/v1/accounts/new-1/grant", json={"access_token": "a", "refresh_token": "b"})
        await client.delete("/v1/accounts/new-1")
    entries = desk.bench.runtime.audit.own("new-1", limit=10)
    assert [entry.actor for entry in entries] == ["billing"] * 3


async def test_history_and_explain_are_what_the_commands_say(desk: Desk) -> None:
    desk.bench.add("acct-1")
    desk.bench.refresh("acct-1")
    async with desk.client(READ) as client:
        history = (await client.get("/v1/accounts/acct-1/history")).json()
        explained = (await client.get("/v1/accounts/acct-1/explain")).json()
    assert [one["kind"] for one in history["entries"]] == ["attempt"]
    assert history["entries"][0]["outcome"] == "retry"
    assert explained["account"] == "acct-1"
    assert explained["redis"] is not None
    assert isinstance(explained["findings"], list)


@pytest.mark.parametrize(
    ("scopes", "method", "path"),
    [
        ((WRITE,), "GET", "/v1/accounts"),
        ((READ,), "PUT", "/v1/accounts/a"),
        ((READ,), "DELETE", "/v1/accounts/a"),
        ((READ, WRITE), "GET", "/v1/accounts/a/token"),
        ((READ, WRITE, ApiScope.TOKENS_READ), "GET", "/v1/clients"),
    ],
)
async def test_a_key_without_the_scope_is_refused(
    desk: Desk, scopes: tuple[ApiScope, ...], method: str, path: str
) -> None:
    async with desk.client(*scopes) as client:
        refused = await client.request(method, path, json={} if method == "PUT" else None)
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]


async def test_an_account_may_be_created_first_and_wait_for_its_grant(desk: Desk) -> None:
    without = {name: value for name, value in NEW.items() if name != "refresh_token"}
    async with desk.client(WRITE, READ) as client:
        added = await client.put("/v1/accounts/new-1", json=without)
        assert (added.status_code, added.json()["outcome"]) == (201, "added")
        found = (await client.get("/v1/accounts?status=reauthorize")).json()["accounts"][0]
        assert (found["id"], found["reason"], found["next_refresh_at"]) == ("new-1", "no_grant_yet", None)
        changed = await client.patch("/v1/accounts/new-1", json={"server_url": "https://api.example"})
        assert changed.json()["outcome"] == "changed"
        assert (await client.get("/v1/accounts/new-1")).json()["reason"] == "no_grant_yet"
        explained = (await client.get("/v1/accounts/new-1/explain")).json()
        assert [one["cause"] for one in explained["findings"]] == ["no_grant_yet"]
        wrong = await client.put(
            "/v1/accounts/new-2", json={**without, "token_url": "ftp://provider.example"}
        )
        assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "token_url")

        granted = await client.put(
            "/v1/accounts/new-1/grant",
            json={"access_token": "first", "refresh_token": "r-1", "expires_in": 3600},
        )
    assert (granted.json()["outcome"], granted.json()["status"]) == ("connected", "active")
    assert granted.json()["next_refresh_at"] is not None
    assert [kind for kind, _ in desk.bench.events()] == ["connected"]


async def test_a_generation_that_is_not_noted_as_published_is_null(desk: Desk) -> None:
    desk.bench.add("acct-1", published_generation=-1)
    async with desk.client() as client:
        shown = (await client.get("/v1/accounts/acct-1")).json()
    assert shown["published_generation"] is None


async def test_a_grant_that_cannot_be_ended_leaves_its_account(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    client = ProviderClient(transport=httpx.MockTransport(away))
    monkeypatch.setattr("worker.intake.services.provider_client", lambda _: client)
    url = "https://provider.example/revoke"
    desk.bench.add(
        "acct-1", token_url="https://provider.example/token", knobs=f'{{"revocation_url": "{url}"}}'
    )
    desk.bench.add("acct-2")

    async with desk.client() as client_of_api:
        passing = await client_of_api.delete("/v1/accounts/acct-1?revoke=true")
        lasting = await client_of_api.delete("/v1/accounts/acct-2?revoke=true")

    assert (passing.status_code, passing.headers["retry-after"]) == (503, "30")
    assert passing.json()["type"] == "/docs#problem-provider-unavailable"
    assert (passing.json()["revocation"], passing.json()["removed"]) == ("failed", False)
    assert "nothing was removed" in passing.json()["detail"]
    assert (lasting.status_code, lasting.json()["revocation"]) == (409, "unsupported")
    assert "retry-after" not in lasting.headers
    assert desk.bench.account("acct-1").refresh_token_sealed is not None
