"""A platform with a "Connect" button, as its customer's Chromium sees it: the API, a worker, and the provider are real."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import httpx
from sqlalchemy import text

from models.tables.api_key import ApiScope
from models.tables.audit import Actor
from models.tables.client import Client, write_urls
from models.token import Secret
from tests.oidc.conftest import SECRET
from tests.oidc.consent import SCOPE
from tests.oidc.server import AuthorizationServer
from tests.screenshots.browser import Browser
from tests.support.fleet import ROOT, Fleet
from tests.support.server_process import ServerProcess
from tests.support.waiting import PATIENCE_S, wait_until
from worker.crypto.cipher import Cipher, generate_key, parse_keys
from worker.db.accounts.clients import Clients
from worker.db.engine import make_engine, writing
from worker.db.intake.api_keys import ApiKeys
from worker.db.intake.connect_sessions import ConnectSessions

#: Client of `refreshd`'s at the provider; a loopback redirect takes any port (RFC 8252 section 7.3).
REDIRECT_URI: Final = "http://127.0.0.1/connect/callback"
ENTER: Final = "\ue007"
TAB: Final = "\ue004"


def providers_of(server: AuthorizationServer) -> str:
    """Return a providers file: the provider as it is, and as it fails."""
    return f"""
acme:
  title: Acme CRM
  issuer: {server.issuer}
  token_url: {server.token_url}
  authorize_url: {server.authorize_url}
  scopes: [{", ".join(SCOPE.split())}]
  authorize_params: {{prompt: consent}}
without-pkce:
  extends: acme
  authorize_params: {{code_challenge: null, code_challenge_method: null}}
other-issuer:
  extends: acme
  issuer: https://other.example
"""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = b"<!doctype html><title>Platform</title><h1>Platform</h1>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Api(ServerProcess):
    """`refreshd api`, with no key that opens anything."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir()
        super().__init__("api", folder, None)
        self._environment = environment

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        variables = {**self._environment, "REFRESHD_API_PORT": str(self.port), "PYTHONPATH": str(ROOT)}
        words = [f"{name}={value}" for name, value in variables.items()]
        return ["env", *words, sys.executable, "-m", "worker.cli", "api"]

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False, timeout=PATIENCE_S).is_success
        except httpx.TransportError:
            return False


class ConnectSite:
    """Everything from the platform's server to the worker."""

    def __init__(self, server: AuthorizationServer, folder: Path, database_url: str, redis_url: str) -> None:
        self.server = server
        keys = generate_key()
        cipher = Cipher(parse_keys(keys))
        providers = folder / "providers.yaml"
        providers.write_text(providers_of(server))
        common = {
            "REFRESHD_DATABASE_URL": database_url,
            "REFRESHD_REDIS_URL": redis_url,
            "REFRESHD_ALLOW_HTTP_HOSTS": "127.0.0.1",
            "REFRESHD_PROVIDERS_FILE": str(providers),
        }
        self._platform = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.return_url = f"http://127.0.0.1:{self._platform.server_address[1]}/connected"
        self.api = _Api(
            folder / "api",
            {
                **common,
                "REFRESHD_INTAKE_KEY": cipher.intake_key,
                "REFRESHD_DATA_DIR": str(folder / "api-data"),
                "REFRESHD_CONNECT_NAME": "Northwind",
                "REFRESHD_CONNECT_RETURN_URLS": self.return_url,
            },
        )
        self.fleet = Fleet(
            {**common, "REFRESHD_KEYS": keys, "REFRESHD_DATA_DIR": str(folder / "data")}, folder
        )
        self.engine = make_engine(database_url)
        self.sessions = ConnectSessions(self.engine, exchange_s=45)
        for name, provider, secret in (
            *(("acme", "acme", SECRET), ("without-pkce", "without-pkce", SECRET)),
            *(("other-issuer", "other-issuer", SECRET), ("wrong-secret", "acme", "wrong")),
        ):
            sealed = cipher.seal(Secret(secret), account=name, field="client")
            client = Client(name=name, provider=provider, client_id="connect", client_secret_sealed=sealed)
            client.return_urls = write_urls([self.return_url])
            assert Clients(self.engine).save(client, seen=None)
        _, key = ApiKeys(self.engine).create(
            "portal", scopes=[ApiScope.CONNECT], labels={}, expires_s=None, actor=Actor("test", "test")
        )
        self._key = key.to_text()

    def __enter__(self) -> Self:
        threading.Thread(target=self._platform.serve_forever, args=(0.05,), daemon=True).start()
        self.fleet.worker(concurrency=2)
        self.api.start()
        self.fleet.wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.api.stop()
        for member in self.fleet.members.values():
            member.kill()
        self._platform.shutdown()
        self._platform.server_close()
        self.engine.dispose()

    def open(self, account: str, client: str | None = "acme", **more: Any) -> dict[str, Any]:
        """Open a session, as the platform's server does at a click."""
        wanted = {"account": account, "client": client, "return_url": self.return_url, **more}
        return self._ask("POST", "/v1/connect/sessions", wanted)

    def session(self, opened: Mapping[str, Any]) -> dict[str, Any]:
        """Ask what became of a session."""
        return self._ask("GET", f"/v1/connect/sessions/{opened['id']}", None)

    def _ask(self, method: str, path: str, body: object) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self._key}"}
        answer = httpx.request(
            method, self.api.url + path, json=body, headers=headers, trust_env=False, timeout=PATIENCE_S
        )
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def over(self) -> None:
        """Let the time for every session's next step be over."""
        with writing(self.engine) as connection:
            connection.execute(
                text("UPDATE connect_session SET ends_at = created_at - 1 WHERE status = 'started'")
            )
            connection.execute(
                text("UPDATE connect_session SET ends_at = created_at - 1 WHERE status = 'open'")
            )


class Customer:
    """A person in front of Chromium."""

    def __init__(
        self, browser: Browser, site: ConnectSite, login: str = "alice", *, issuer: str | None = None
    ) -> None:
        self.browser = browser
        self._issuer = issuer or site.server.issuer
        self._site = site
        self._login = login

    def go(self, opened: Mapping[str, Any]) -> None:
        """Follow the platform's link to a session's page."""
        self.browser.open(str(opened["url"]))

    def press(self) -> None:
        """Press the button, and come to the provider."""
        self.browser.click("button")
        self.arrive(self._issuer)

    def arrive(self, address: str) -> None:
        """Wait until the browser shows a page that begins with this address."""
        wait_until(lambda: self.browser.url.startswith(address), f"the browser is at {address}")

    def consent(self) -> dict[str, str]:
        """Log in and agree at the provider; returns the query at the platform."""
        at = self.browser.url
        while at.startswith(self._issuer):
            if self.browser.has("input[name=login]"):
                self.browser.type("input[name=login]", self._login)
                self.browser.type("input[name=password]", "any")
            self.browser.click("button[type=submit]")
            wait_until(lambda before=at: self.browser.url != before, "the provider's next page")  # type: ignore[misc]
            at = self.browser.url
        return self.returned()

    def decline(self) -> dict[str, str]:
        """Decline at the provider; returns the query at the platform."""
        self.browser.click("a[href$='/abort']")
        return self.returned()

    def returned(self) -> dict[str, str]:
        """Return the query with which the browser came back to the platform."""
        self.arrive(self._site.return_url)
        return dict(parse_qsl(urlsplit(self.browser.url).query))

    @property
    def title(self) -> str:
        return self.browser.text("h1")

    def another(self) -> None:
        """Become another browser: one without cookies."""
        self.browser.devtools("Network.clearBrowserCookies")


def looks(browser: Browser, *, width: int, height: int = 800, dark: bool = False) -> None:
    """Give the window a size, and its owner a taste."""
    browser.devtools(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=height,
        deviceScaleFactor=1,
        mobile=width < 500,
    )
    browser.devtools("Emulation.setFocusEmulationEnabled", enabled=True)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.devtools("Emulation.setEmulatedMedia", features=[scheme])
