"""Connect on real stores: a platform, its customer's browser, and a worker. The provider is a function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from msgspec.structs import replace
from sqlalchemy import text

from models.tables.client import Client, write_urls
from models.tables.connect_session import ConnectSession
from models.token import Secret
from tests.integration.connect.mcp_world import ISSUER, McpWorld
from tests.integration.intake.conftest import Asker
from tests.integration.intake.conftest import asker as asker  # noqa: PLC0414  (a fixture)
from worker.connect import exchange, preparing, reasons  # noqa: F401  (their ops are known once they are imported)
from worker.connect.browser_key import BrowserKey
from worker.connect.flow import Code, Flow, GoTo, Show
from worker.connect.opening import NOTHING_FOUND, Opener, Wanted
from worker.connect.redirect import NoCode
from worker.crypto.intake import IntakeSealer
from worker.db.accounts.clients import Clients
from worker.db.engine import writing
from worker.db.intake.connect_sessions import ConnectSessions
from worker.db.intake.connectable import Connectable
from worker.intake.requests import Op, Reply
from worker.providers.registry import Providers
from worker.providers.request.builder import RequestBuilder

API = "https://api.example"
RETURN_URL = "https://app.example/connected"
PROVIDERS = """
crm:
  title: Acme CRM
  token_url: https://id.crm.example/token
  authorize_url: https://id.crm.example/authorize?audience=api
  offline_scope: offline_access
  redirect_fields: {realm: realm_id}
"""


def granted(number: int = 1, **more: object) -> httpx.Response:
    body = {
        "access_token": f"marker-access-{number}",
        "refresh_token": f"marker-refresh-{number}",
        "token_type": "Bearer",
        "expires_in": 3600,
        **more,
    }
    return httpx.Response(200, json={name: value for name, value in body.items() if value is not None})


@dataclass
class CookieJar:
    """One browser's keys, by session."""

    keys: dict[str, BrowserKey] = field(default_factory=dict)

    def __call__(self, session_id: str) -> BrowserKey | None:
        return self.keys.get(session_id)


class Platform:
    """A platform, and the API process and the worker that it uses."""

    def __init__(self, asker: Asker, providers: Path) -> None:
        self.asker, self.bench = asker, asker.bench
        runtime = self.bench.runtime
        providers.write_text(PROVIDERS)
        runtime.providers.known = Providers(providers).known
        self.sessions = ConnectSessions(runtime.engine, exchange_s=45)
        self.opener = Opener(
            connectable=Connectable(runtime.engine),
            sessions=self.sessions,
            provider_of=runtime.providers.of,
            check=RequestBuilder(()).check,
            sealer=IntakeSealer.of(runtime.cipher.intake_key),
            now=runtime.clock.now,
            url=API,
        )
        self.replies: list[Reply] = []
        self.consent_page = "https://id.crm.example/authorize?audience=api&"
        self.exchange: Callable[[Code], None] = self.exchanged
        self.flow = Flow(
            sessions=self.sessions,
            exchange=self._exchange,
            push=self._push,
            url=API,
            name=None,
            colour="#336699",
            title_of=lambda name: runtime.providers.known[name].title or name,
            now=runtime.clock.now,
        )

    def add_client(self, name: str = "crm-app", **columns: Any) -> None:
        sealed = self.bench.runtime.cipher.seal(Secret("marker-client-secret"), account=name, field="client")
        given = {"provider": "crm", "client_id": "app-1", "return_urls": write_urls([RETURN_URL])}
        client = Client(name=name, **{"client_secret_sealed": sealed, **given, **columns})
        assert Clients(self.bench.runtime.engine).save(client, seen=None)

    def open(
        self,
        account: str = "acct",
        *,
        key_labels: dict[str, str] | None = None,
        found: Mapping[str, Any] = NOTHING_FOUND,
        **wanted: Any,
    ) -> ConnectSession:
        given = {"account": account, "client": "crm-app", "return_url": RETURN_URL, **wanted}
        return self.opener.open(Wanted(**given), actor="portal", require_labels=key_labels or {}, found=found)

    def press(self, session: ConnectSession, browser: CookieJar) -> dict[str, str]:
        """Open the page, press the button; returns the parameters of the provider's page."""
        self._kept(session, browser, self.flow.open(session.id, browser))
        show = self._kept(session, browser, self.begin(session.id, browser))
        address = show.html.split("url=", 1)[1].split('"', 1)[0].replace("&amp;", "&")
        assert address.startswith(self.consent_page)
        return dict(parse_qsl(urlsplit(address).query))

    def begin(self, session_id: str, browser: CookieJar, *, from_our_page: bool = True) -> Show | GoTo:
        """Press the button, and nothing before."""
        return asyncio.run(self.flow.begin(session_id, browser, from_our_page=from_our_page))

    def _kept(self, session: ConnectSession, browser: CookieJar, show: Show | GoTo) -> Show:
        assert isinstance(show, Show), show
        assert show.status == 200, show.html
        if show.key is not None:
            browser.keys[session.id] = show.key
        return show

    def back(self, browser: CookieJar, **parameters: str) -> Show | GoTo:
        """Have the browser follow the provider's redirect."""
        return asyncio.run(self.flow.back(list(parameters.items()), browser))

    def connected(
        self, session: ConnectSession, browser: CookieJar | None = None, **more: str
    ) -> dict[str, str]:
        """Go the whole way; returns the query that the browser brings to `return_url`."""
        browser = browser or CookieJar()
        asked = self.press(session, browser)
        return outcome(self.back(browser, code="the-code", state=asked["state"], **more))

    def exchanged(self, code: Code) -> None:
        session = code.session
        self.replies.append(
            self.asker.ask(
                Op.EXCHANGE_CODE,
                actor=session.actor,
                require_labels=session.key_label_set,
                session=session.id,
                code=code.code.reveal(),
                verifier=code.verifier.reveal(),
                parameters=dict(code.parameters),
            )
        )

    async def _push(self, session: ConnectSession, page: str) -> str | NoCode:
        reply = await asyncio.to_thread(
            self.asker.ask, Op.PUSH_CONSENT, actor="portal", session=session.id, page=page
        )
        self.replies.append(reply)
        found = reply.result
        return found["url"] if "url" in found else NoCode(reasons.REASONS[found["reason"]], found["detail"])

    async def _exchange(self, code: Code) -> None:
        await asyncio.to_thread(self.exchange, code)

    def status(self, session: ConnectSession) -> tuple[str, str | None]:
        found = self.sessions.find(session.id)
        assert found is not None
        return found.status, found.reason

    def over(self) -> None:
        """Let the time for every session's next step be over."""
        with writing(self.bench.runtime.engine) as connection:
            connection.execute(text("UPDATE connect_session SET ends_at = created_at - 1"))

    def events(self) -> list[dict[str, str]]:
        runtime = self.bench.runtime
        entries: Any = runtime.redis.xrange(runtime.keys.events)
        return [{_text(name): _text(value) for name, value in fields.items()} for _, fields in entries]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def outcome(found: Show | GoTo) -> dict[str, str]:
    assert isinstance(found, GoTo), found
    assert found.url.startswith(RETURN_URL)
    return dict(parse_qsl(urlsplit(found.url).query))


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLite, or what a test names: each step's SQL is tested on both in `tests/integration/db`."""
    url: str = request.getfixturevalue(getattr(request, "param", "sqlite_url"))
    return url


@pytest.fixture
def platform(asker: Asker, tmp_path: Path) -> Platform:
    made = Platform(asker, tmp_path / "providers.yaml")
    made.add_client()
    made.bench.answer = lambda _: granted()
    return made


@pytest.fixture
def world(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> McpWorld:
    """An MCP server and its authorization server; every client's sessions may come back to the platform."""
    made = McpWorld()
    monkeypatch.setattr(platform.bench.runtime, "document_client", made.documents)
    platform.bench.answer = made.answer
    platform.opener = replace(platform.opener, return_urls=[RETURN_URL])
    platform.consent_page = f"{ISSUER}/authorize?"
    return made


on_both = pytest.mark.parametrize("database_url", ["sqlite_url", "postgres_url"], indirect=True)
