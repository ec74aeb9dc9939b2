"""`refreshd providers discover`, as its users type it: a server on loopback, and a file that its output makes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.accounts.conftest import Refreshd


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: discovery reads no database."""
    return sqlite_url


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of a server that publishes metadata of itself and of a resource at `/mcp`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            root = f"http://{self.headers['host']}"
            documents = {
                "/.well-known/oauth-authorization-server": {
                    "issuer": root,
                    "token_endpoint": f"{root}/token",
                    "authorization_endpoint": f"{root}/authorize",
                    "token_endpoint_auth_methods_supported": ["none"],
                },
                "/meta": {"resource": f"{root}/mcp", "authorization_servers": [root]},
            }
            document = documents.get(self.path)
            self.send_response(200 if document else 401 if self.path == "/mcp" else 404)
            if self.path == "/mcp":
                self.send_header("WWW-Authenticate", f'Bearer resource_metadata="{root}/meta", scope="tools"')
            body = json.dumps(document or {}).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    monkeypatch.setenv("REFRESHD_ALLOW_HTTP_HOSTS", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


def test_the_address_of_an_mcp_server_makes_a_provider_that_the_file_of_providers_takes(
    refreshd: Refreshd, server: str, tmp_path: Path
) -> None:
    found = refreshd("providers", "discover", f"{server}/mcp", "--name", "acme-mcp")
    assert found.exit_code == 0, found.stderr
    assert "HTTP 401, with a challenge" in found.stderr
    file = tmp_path / "providers.yaml"
    file.write_text(found.stdout)
    assert "acme-mcp: fine, is new" in refreshd("providers", "check", str(file)).stdout
    entry = refreshd("providers", "discover", f"{server}/mcp", "--json").json["entry"]
    assert entry["resource"] == f"{server}/mcp"
    assert (entry["client_auth"], entry["scopes"]) == ("none", ["tools"])


def test_a_resource_without_metadata_of_its_own_leads_to_the_root_of_its_host(
    refreshd: Refreshd, server: str
) -> None:
    entry = refreshd("providers", "discover", f"{server}/nothing/here", "--json").json["entry"]
    assert entry["token_url"] == f"{server}/token"
    assert "params" not in entry


def test_what_is_no_url_is_answered_with_what_to_give(refreshd: Refreshd) -> None:
    ran = refreshd("providers", "discover", "foo")
    assert ran.exit_code == 1
    assert "what to do: give the whole address, https://HOST/..." in ran.stderr


def test_a_failure_is_an_exit_code_a_reason_and_what_was_asked(refreshd: Refreshd, server: str) -> None:
    unsafe = refreshd("providers", "discover", server.replace("127.0.0.1", "localhost"))
    assert unsafe.exit_code == 1
    assert unsafe.stderr.startswith("error: URL: plain http to localhost is refused")
    assert "[unsafe_url]" in unsafe.stderr
    gone = refreshd("providers", "discover", "http://127.0.0.1:9/x")
    assert gone.exit_code == 1
    assert "[unreachable]" in gone.stderr
    assert gone.stdout == ""
