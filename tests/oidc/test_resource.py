"""A protected resource, such as an MCP server, by its address alone: registration, a pushed request, and tokens for it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from refreshd_reader import Reader
from tests.oidc.conftest import Deployment
from tests.oidc.server import AuthorizationServer
from tests.oidc.test_authorize import refreshed
from tests.support.waiting import PATIENCE_S
from worker.db.accounts.clients import Clients
from worker.db.engine import make_engine
from worker.db.intake.issuers import Issuers, Registrations


def call_tool(server: AuthorizationServer, token: str) -> httpx.Response:
    return httpx.get(server.resource_url, headers={"authorization": f"Bearer {token}"}, timeout=PATIENCE_S)


def test_address_is_enough_up_to_the_third_refresh(
    deployment: Deployment, resource: AuthorizationServer
) -> None:
    ran = deployment.refreshd("accounts", "authorize", "notes", "--mcp", resource.resource_url, login="alice")
    assert ran.exit_code == 0, ran.stderr
    assert "registered client 127.0.0.1" in ran.stderr
    engine = make_engine(deployment.environment["REFRESHD_DATABASE_URL"])
    [client] = Clients(engine).all()
    registration = Registrations(engine).find(client.name)
    assert (client.provider, client.issuer) == ("issuer", resource.issuer)
    assert client.client_secret_sealed
    assert registration is not None
    assert registration.registration_access_token_sealed
    assert registration.registration_client_uri
    metadata = Issuers(engine).find(resource.issuer)
    assert metadata is not None
    assert metadata.failure is None
    registered_with = client.client_id, registration.registration_access_token_sealed
    renewed = deployment.refreshd("clients", "renew", client.name, "--json")
    assert renewed.exit_code == 0, renewed.stderr
    registration = Registrations(engine).find(client.name)
    assert registration is not None
    assert client.client_id == registered_with[0]
    assert registration.registration_access_token_sealed != registered_with[1]
    engine.dispose()

    reader = Reader.from_url(deployment.environment["REFRESHD_REDIS_URL"])
    seen = {reader.get("notes").access_token}
    for _ in range(3):
        assert refreshed(deployment, "notes") == "refreshed"
        token = reader.get("notes").access_token
        assert call_tool(resource, token).json() == {"scope": "tools"}
        seen.add(token)
    reader.close()
    assert len(seen) == 4


def test_one_registration_serves_all_accounts_and_its_port_is_sent(
    deployment: Deployment, resource: AuthorizationServer
) -> None:
    for account, login in (("one", "alice"), ("two", "bob"), ("two", "bob")):
        ran = deployment.refreshd(
            "accounts", "authorize", account, "--mcp", resource.resource_url, login=login
        )
        assert ran.exit_code == 0, ran.stderr
    engine = make_engine(deployment.environment["REFRESHD_DATABASE_URL"])
    assert len(Clients(engine).all()) == 1
    engine.dispose()
    one, two = deployment.stored("one"), deployment.stored("two")
    assert one is not None
    assert two is not None
    assert one.client == two.client
    assert two.generation == 2


def test_client_of_another_issuer_is_refused(deployment: Deployment, resource: AuthorizationServer) -> None:
    added = deployment.refreshd(
        *("clients", "add", "other", "--provider", "generic", "--token-url", "https://other.example/token"),
        *("--client-id", "id", "--client-auth", "none"),
    )
    assert added.exit_code == 0, added.stderr
    ran = deployment.refreshd(
        "accounts", "authorize", "acct", "--mcp", resource.resource_url, "--client", "other"
    )
    assert ran.exit_code == 1
    assert "[wrong_issuer]" in ran.stderr


def test_accounts_of_an_issuer_need_no_token_url(
    deployment: Deployment, resource: AuthorizationServer, tmp_path: Path
) -> None:
    of_an_issuer = {"provider": "issuer", "client_id": "id", "client_auth": "none"}
    rows = [
        {"id": "acct", "issuer": resource.issuer, "refresh_token": "r", **of_an_issuer},
        {"id": "lost", "issuer": "http://127.0.0.1:9", "refresh_token": "s", **of_an_issuer},
        {"id": "none", "refresh_token": "t", **of_an_issuer},
    ]
    file = tmp_path / "accounts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = deployment.refreshd("accounts", "import", str(file), "--json")
    assert (ran.json["added"], ran.json["failed"]) == (1, 2)
    lost, none = ran.json["errors"]
    assert lost["field"] == none["field"] == "issuer"
    assert "[unreachable]" in lost["reason"]
    assert none["reason"].startswith("is missing")
