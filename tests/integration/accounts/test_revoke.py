"""`refreshd accounts remove --revoke`: the grant ends at the provider first, or the account stays."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import redis

from tests.integration.accounts.conftest import Refreshd, acme
from worker.db.accounts.stored import Accounts
from worker.db.engine import make_engine

Write = Callable[..., Path]


@dataclass
class Endpoint:
    """A revocation endpoint that answers as told, and keeps what it was asked."""

    status: int = 200
    body: bytes = b""
    asked: list[dict[str, str]] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)
    port: int = 0


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Endpoint]:
    told = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            told.asked.append({name: value[0] for name, value in parse_qs(content.decode()).items()})
            told.authorization.append(self.headers["authorization"])
            self.send_response(told.status)
            self.send_header("content-length", str(len(told.body)))
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    providers = tmp_path / "providers.yaml"
    base = f"http://127.0.0.1:{told.port}"
    providers.write_text(
        f"idp: {{token_url: '{base}/token', revocation_url: '{base}/revoke', client_auth: basic, "
        "params: {audience: x}}\n"
        f"mute: {{token_url: '{base}/token'}}\n"
    )
    monkeypatch.setenv("REFRESHD_PROVIDERS_FILE", str(providers))
    monkeypatch.setenv("REFRESHD_ALLOW_HTTP_HOSTS", "127.0.0.1")
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def two(refreshd: Refreshd, file: Write, endpoint: Endpoint) -> Refreshd:
    """Accounts `a` and `b` at a provider that revokes."""
    assert endpoint.port
    rows = [acme(one, provider="idp", token_url=None) for one in ("a", "b")]
    path = file(*rows)
    assert refreshd("accounts", "import", str(path)).exit_code == 0
    return refreshd


def ids(refreshd: Refreshd) -> list[str]:
    return [one["id"] for one in refreshd("accounts", "list", "--json").lines]


def trail(refreshd: Refreshd) -> list[tuple[str, str, dict[str, str]]]:
    """Return what the audit trail says of accounts that were to go."""
    entries = refreshd("audit", "--json").lines
    return [(one["action"], one["account_id"], one["detail"]) for one in entries if one["account_id"]]


def test_the_refresh_token_is_revoked_with_the_client_s_authentication(
    two: Refreshd, endpoint: Endpoint, stores: redis.Redis
) -> None:
    ran = two("accounts", "remove", "a", "--revoke", "--yes", "--json")
    assert (ran.exit_code, ran.json) == (
        0,
        {"account": "a", "removed": True, "revocation": "revoked", "reason": ""},
    )
    assert endpoint.asked == [{"token": "refresh-of-a", "token_type_hint": "refresh_token"}]
    basic = base64.b64encode(b"client:client-secret-text").decode()
    assert endpoint.authorization == [f"Basic {basic}"]
    assert stores.keys("*{a}*") == ["refreshd:removed:{a}"]
    assert ids(two) == ["b"]
    assert trail(two) == [("remove", "a", {"revocation": "revoked"})]


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (503, b"", "HTTP 503"),
        (400, b'{"error": "unsupported_token_type"}', "HTTP 400 unsupported_token_type"),
        (302, b"", "HTTP 302"),
    ],
)
def test_an_account_whose_grant_lives_on_stays_unless_forced(
    two: Refreshd, endpoint: Endpoint, status: int, body: bytes, says: str
) -> None:
    endpoint.status, endpoint.body = status, body
    ran = two("accounts", "remove", "a", "b", "--revoke", "--yes")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert f"a: failed, not removed ({says}" in ran.stderr
    assert "--force removes it all the same" in ran.stderr
    assert ids(two) == ["a", "b"]
    assert len(endpoint.asked) == 2
    forced = two("accounts", "remove", "a", "--revoke", "--force", "--yes", "--json")
    assert (forced.exit_code, forced.json["removed"], forced.json["revocation"]) == (1, True, "failed")
    assert ids(two) == ["b"]
    told = {"revocation": "failed", "reason": says}
    assert trail(two) == [("revoke", "a", told), ("revoke", "b", told), ("remove", "a", told)]


def test_one_that_fails_keeps_no_other(two: Refreshd, endpoint: Endpoint, file: Write) -> None:
    path = file(acme("m", provider="mute", token_url=None))
    assert two("accounts", "import", str(path)).exit_code == 0
    ran = two("accounts", "remove", "m", "a", "--revoke", "--yes", "--json")
    assert ran.exit_code == 1
    assert [(one["account"], one["removed"], one["revocation"]) for one in ran.lines] == [
        ("m", False, "unsupported"),
        ("a", True, "revoked"),
    ]
    assert len(endpoint.asked) == 1


def test_an_account_that_is_being_refreshed_is_busy(
    two: Refreshd, endpoint: Endpoint, database_url: str
) -> None:
    """Whoever else holds it; and afterwards our own claim holds nobody up."""
    engine = make_engine(database_url)
    accounts = Accounts(engine)
    account = accounts.find(["a"])["a"]
    assert accounts.claim(account, "an-attempt", claim_s=60)
    ran = two("accounts", "remove", "a", "--revoke", "--force", "--yes", "--json")
    assert (ran.exit_code, ran.json["removed"], ran.json["revocation"]) == (1, False, "busy")
    assert endpoint.asked == []
    accounts.unclaim("a", "an-attempt")
    endpoint.status = 500
    assert two("accounts", "remove", "a", "--revoke", "--yes").exit_code == 1
    assert accounts.find(["a"])["a"].claim_attempt is None
    engine.dispose()


def test_a_newer_answer_that_waits_is_not_overlooked(
    two: Refreshd, endpoint: Endpoint, stores: redis.Redis
) -> None:
    stores.set("refreshd:stash:{a}", "sealed")
    ran = two("accounts", "remove", "a", "--revoke", "--yes", "--json")
    assert (ran.exit_code, ran.json["revocation"], endpoint.asked) == (1, "busy", [])
    assert ids(two) == ["a", "b"]


def test_tokens_of_another_server_go_to_no_preset_s_address(
    refreshd: Refreshd, file: Write, endpoint: Endpoint
) -> None:
    own = acme("a", provider="gitlab", token_url="https://gitlab.own.example/oauth/token")
    assert refreshd("accounts", "import", str(file(own))).exit_code == 0
    ran = refreshd("accounts", "remove", "a", "--revoke", "--yes", "--json")
    assert (ran.exit_code, ran.json["revocation"], endpoint.asked) == (1, "unsupported", [])


def test_nothing_that_is_said_holds_a_secret(two: Refreshd, endpoint: Endpoint) -> None:
    endpoint.status = 400
    endpoint.body = json.dumps({"error": "invalid", "error_description": "bad refresh-of-a"}).encode()
    ran = two("accounts", "remove", "a", "--revoke", "--yes")
    assert "refresh-of-a" not in ran.stdout + ran.stderr + two("audit").stdout
