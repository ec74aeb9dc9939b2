"""A key that is bound to a label, at every route that the API has: of accounts without the label it learns nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from models.rate_limit import WaitReason
from models.tables.api_key import ApiScope
from models.tables.connect_session import ConnectSession
from tests.integration.api.conftest import Desk
from worker.db.engine import writing
from worker.db.intake.connect_sessions import ConnectSessions
from worker.policy.gates import Gate
from worker.redis.gates import gate_key

#: Not this key's, and sent by it; and one whose id it never sends.
FOREIGN, HIDDEN = "foreign-1", "foreign-hidden-2"
#: No account's; one is asked for, the other is made.
ABSENT, FREE = "absent-1", "free-1"
SESSION, NO_SESSION = f"cs_{'f' * 32}", f"cs_{'a' * 32}"
_ACCOUNT = {"provider": "acme", "token_url": "https://provider.example/token", "client_id": "c"}
_GRANT = {"access_token": "a-1", "refresh_token": "r-new", "expires_in": 3600}

#: What each route that writes is sent. A new route has to stand here.
BODIES: dict[tuple[str, str], Any] = {
    ("put", "/v1/accounts/{id}"): _ACCOUNT,
    ("patch", "/v1/accounts/{id}"): {"scope": "a"},
    ("delete", "/v1/accounts/{id}"): None,
    ("put", "/v1/accounts/{id}/grant"): _GRANT,
    ("post", "/v1/accounts/{id}/refresh"): {"force": True},
    ("post", "/v1/accounts/{id}/token/rejected"): {"generation": 1},
    ("post", "/v1/accounts:batch"): [{"id": FOREIGN, **_ACCOUNT, "refresh_token": "r-2"}],
    ("put", "/v1/clients/{name}"): {"provider": "acme", "client_id": "c"},
    ("delete", "/v1/clients/{name}"): None,
    ("post", "/v1/connect/sessions"): {
        "account": FOREIGN,
        "client": "crm",
        "return_url": "https://platform.example/done",
    },
}
#: An id that is free becomes the key's own account; one that is not is refused, and nothing of it is shown.
CREATES = frozenset(
    {("put", "/v1/accounts/{id}"), ("post", "/v1/accounts:batch"), ("post", "/v1/connect/sessions")}
)
#: It never ends; tests/integration/api/test_tokens_and_events.py has whose events a key gets.
STREAM = ("get", "/v1/events")


def routes(desk: Desk) -> Iterator[tuple[str, str]]:
    """Yield the method and path of every route below /v1."""
    for path, methods in desk.app.openapi()["paths"].items():
        if path.startswith("/v1"):
            yield from ((method, path) for method in methods if method != "parameters")


@pytest.fixture
def foreign(desk: Desk) -> Desk:
    """Return the API with accounts, a client and a Connect session of another tenant."""
    for number, name in enumerate((FOREIGN, HIDDEN)):
        desk.bench.add(name, labels='{"tenant": "other"}', refresh_token=f"r-{number}")
    desk.bench.add_client("crm", return_urls='["https://platform.example"]')
    sessions = ConnectSessions(desk.bench.runtime.engine, exchange_s=60)
    sessions.add(
        ConnectSession(
            id=SESSION,
            account=FOREIGN,
            provider="acme",
            client="crm",
            return_url="https://platform.example/done",
            labels='{"tenant": "other"}',
            redirect_uri="https://api.example/connect/callback",
            page="{}",
            actor="another",
        ),
        for_s=600,
    )
    return desk


async def test_no_route_shows_or_touches_what_is_not_the_keys(foreign: Desk) -> None:
    tried = set()
    async with foreign.client(*ApiScope, labels={"tenant": "mine"}) as client:
        for method, path in routes(foreign):
            if (method, path) == STREAM:
                continue
            tried.add((method, path))
            free = FREE if (method, path) in CREATES else ABSENT
            theirs = await _ask(client, method, path, account=FOREIGN, session=SESSION)
            absent = await _ask(client, method, path, account=free, session=NO_SESSION)
            assert HIDDEN not in theirs.text, path
            assert "other" not in theirs.text, path
            if "{" not in path and (method, path) not in CREATES:
                assert FOREIGN not in theirs.text, path
            elif path.startswith("/v1/clients"):
                assert theirs.status_code == 403, path
            elif (method, path) == ("post", "/v1/accounts:batch"):
                assert json.loads(theirs.text)["outcome"] == "failed"
            elif "{" in path or path.startswith("/v1/connect"):
                assert theirs.status_code == 404, f"{method} {path}: {theirs.text}"
            if (method, path) not in CREATES:
                assert (theirs.status_code, theirs.text) == (absent.status_code, absent.text), path
    assert len(tried) >= 18
    for name, token in ((FOREIGN, "r-0"), (HIDDEN, "r-1")):
        account = foreign.bench.account(name)
        assert (account.generation, account.config_version, account.labels) == (1, 1, '{"tenant": "other"}')
        assert foreign.bench.refresh_token(name) == token


async def _ask(client: Any, method: str, path: str, *, account: str, session: str) -> Any:
    body = BODIES[method, path] if method != "get" else None
    named = session if path.startswith("/v1/connect") else account
    url = path.replace("{id}", named).replace("{name}", "crm")
    if isinstance(body, list):
        lines = "\n".join(json.dumps({**row, "id": account}) for row in body)
        return await client.request(
            method.upper(), url, content=lines, headers={"content-type": "application/x-ndjson"}
        )
    if isinstance(body, dict) and "account" in body:
        body = body | {"account": account}
    return await client.request(method.upper(), url, json=body)


async def test_a_shared_refresh_token_does_not_name_an_account_of_others(desk: Desk) -> None:
    desk.bench.add(FOREIGN, labels='{"tenant": "other"}', refresh_token="r-shared")
    desk.bench.add("mine-1", labels='{"tenant": "acme"}', refresh_token="r-mine")
    grant = {**_GRANT, "refresh_token": "r-shared"}
    async with desk.client(labels={"tenant": "acme"}) as client, desk.client() as unbound:
        answers = [
            await client.put("/v1/accounts/mine-1/grant", json=grant),
            await client.patch("/v1/accounts/mine-1", json={"refresh_token": "r-shared"}),
        ]
        named = await unbound.put("/v1/accounts/mine-1/grant", json=grant)
    for answer in answers:
        assert answer.status_code == 422, answer.text
        assert FOREIGN not in answer.text
    assert FOREIGN in named.text
    assert "--allow" not in named.text


async def test_explain_names_no_account_of_others_that_has_the_same_grant(desk: Desk) -> None:
    for name, labels in ((FOREIGN, "other"), ("mine-1", "acme"), ("mine-2", "acme")):
        desk.bench.add(name, labels=json.dumps({"tenant": labels}), refresh_token="r-shared")
    async with desk.client(labels={"tenant": "acme"}) as client:
        beside_mine = await client.get("/v1/accounts/mine-1/explain")
        await client.delete("/v1/accounts/mine-2")
        alone = await client.get("/v1/accounts/mine-1/explain")
    async with desk.client() as unbound:
        named = await unbound.get("/v1/accounts/mine-1/explain")
    for answer, sees_mine in ((beside_mine, True), (alone, False)):
        assert "shared_grant" in answer.text
        assert FOREIGN not in answer.text
        assert ("mine-2" in answer.text) is sees_mine
    assert "the refresh token of another account of the same client" in alone.text
    assert FOREIGN in named.text


@pytest.mark.parametrize("cause", [WaitReason.DOWN, WaitReason.REFUSED])
async def test_explain_names_no_account_of_others_that_a_gate_holds(desk: Desk, cause: WaitReason) -> None:
    runtime, origin = desk.bench.runtime, "https://provider.example"
    now = runtime.clock.now()
    for name, labels in ((FOREIGN, "other"), ("mine-1", "acme")):
        desk.bench.add(
            name,
            labels=json.dumps({"tenant": labels}),
            refresh_token=f"r-{name}",
            held_by=origin,
            failed_at=now,
        )
    gate = Gate(
        cause=cause, reason="server_error", since=now - 60, by=FOREIGN, until=now - 1, provider="acme"
    )
    runtime.redis.set(gate_key(runtime.settings.redis_prefix, origin), gate.dump())
    async with desk.client(labels={"tenant": "acme"}) as client, desk.client() as unbound:
        mine = await client.get("/v1/accounts/mine-1/explain")
        named = await unbound.get("/v1/accounts/mine-1/explain")
    assert FOREIGN not in mine.text
    assert "another account last of them" in mine.text
    assert "another account probes now" in mine.text
    assert f"{FOREIGN} last of them" in named.text
    assert f"{FOREIGN} probes now" in named.text


async def test_an_account_that_is_made_again_has_nothing_of_the_one_before(desk: Desk) -> None:
    async with (
        desk.client(labels={"tenant": "acme"}, name="key-of-acme") as before,
        desk.client(labels={"tenant": "beta"}, name="key-of-beta") as after,
        desk.client() as unbound,
    ):
        await before.put("/v1/accounts/x", json={**_ACCOUNT, "client_secret": "s", "refresh_token": "r-1"})
        desk.bench.refresh("x")
        with writing(desk.bench.runtime.engine) as connection:
            connection.execute(text("UPDATE attempt SET opened_at = opened_at - 60, error = 'of-acme'"))
        await before.delete("/v1/accounts/x")
        made = await after.put(
            "/v1/accounts/x", json={**_ACCOUNT, "client_secret": "s", "refresh_token": "r-2"}
        )
        history = (await after.get("/v1/accounts/x/history")).json()["entries"]
        lately = (await after.get("/v1/accounts/x/explain")).json()["lately"]
        whole = (await unbound.get("/v1/accounts/x/history")).text
    assert made.status_code == 201, made.text
    assert [(one["kind"], one["action"], one["actor"]) for one in history] == [
        ("audit", "add", "key-of-beta")
    ]
    assert lately == []
    assert "key-of-acme" in whole
    assert "of-acme" in whole


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_label_of_another_tenant_is_refused_and_not_replaced(desk: Desk, method: str) -> None:
    desk.bench.add("mine-1", labels='{"tenant": "acme"}')
    async with desk.client(labels={"tenant": "acme"}) as client:
        refused = await client.request(method, "/v1/accounts/mine-1", json={"labels": {"tenant": "other"}})
        own = await client.request(
            method, "/v1/accounts/mine-1", json={"labels": {"tenant": "acme", "a": "b"}}
        )
        shown = (await client.get("/v1/accounts/mine-1")).json()
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "labels.tenant")
    assert own.status_code == 200, own.text
    assert shown["labels"] == {"tenant": "acme", "a": "b"}
