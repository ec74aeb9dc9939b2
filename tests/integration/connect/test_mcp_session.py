"""A real MCP server and a real MCP client: a tool is called with the token that the reader gives, before and after a refresh."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import uvicorn
from msgspec.structs import replace

from models.tables.attempt import Outcome, Trigger
from refreshd_reader import AsyncReader
from refreshd_reader.httpx import AsyncTokenAuth
from tests.integration.connect.conftest import RETURN_URL, CookieJar, Platform, outcome
from tests.oidc.browser import query_of
from tests.support.server_process import free_port
from tests.support.waiting import PATIENCE_S, wait_until
from worker.intake.requests import Code, Op
from worker.issuers.caller import IssuerCaller
from worker.providers.client import ProviderClient
from worker.providers.request.builder import RequestBuilder
from worker.settings import Settings

PROGRAM = Path(__file__).parents[2] / "servers" / "mcp" / "connection.py"
HERE = ("127.0.0.1",)


class TokenAuth(AsyncTokenAuth, httpx2.Auth):  # type: ignore[misc]  # httpx and httpx2 name other types
    """The reader's auth, for the HTTP client of the SDK."""


@dataclass
class McpServer:
    """The program that `make servers` runs, in this process."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"allow_http_hosts": HERE})


@pytest.fixture
def mcp_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[McpServer]:
    made = McpServer(free_port())
    monkeypatch.setenv("PORT", str(made.port))
    spec = importlib.util.spec_from_file_location("mcp_connection_program", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    config = uvicorn.Config(program.server.streamable_http_app(), "127.0.0.1", made.port, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="mcp-server", daemon=True)
    thread.start()
    wait_until(lambda: server.started, "the MCP server listens")
    yield made
    server.should_exit = True
    thread.join(PATIENCE_S)


@pytest.fixture
def connected(platform: Platform, mcp_server: McpServer) -> Iterator[McpServer]:
    """Connect `acct` by the server's address alone; everything is asked over real sockets."""
    runtime = platform.bench.runtime
    client = ProviderClient(allow_http_hosts=HERE)
    caller = IssuerCaller(client, runtime.documents, runtime.issuer_reader)
    for method in list(runtime.callers):
        runtime.callers[method] = caller
    platform.asker.tools = replace(platform.asker.tools, client=client)
    platform.opener = replace(platform.opener, return_urls=[RETURN_URL], check=RequestBuilder(HERE).check)
    platform.consent_page = mcp_server.url.removesuffix("mcp")
    reply = platform.asker.ask(
        Op.PREPARE_CONNECT, resource=mcp_server.url, base_url="https://api.example", name="Northwind"
    )
    assert reply.code is Code.DONE, reply
    session = platform.open(client=None, resource=mcp_server.url, found=reply.result)
    browser = CookieJar()
    asked = platform.press(session, browser)
    consented = httpx.get(f"{platform.consent_page}authorize", params=asked, timeout=PATIENCE_S)
    assert outcome(platform.back(browser, **query_of(consented.headers["location"])))["status"] == "connected"
    yield mcp_server
    runtime.run(client.aclose())


async def _called(client: Any) -> str:
    answer = await client.call_tool("whoami", {})
    return str(answer.content[0].text)


def test_session_goes_on_across_a_refresh(platform: Platform, connected: McpServer, redis_url: str) -> None:
    # Half a second of imports, which each process of a test run would spend.
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client

    def refresh() -> Outcome:
        return platform.bench.refresh(trigger=Trigger.FORCED)["acct"].outcome

    async def session() -> list[str]:
        async with (
            AsyncReader.from_url(redis_url) as reader,
            httpx2.AsyncClient(auth=TokenAuth(reader, "acct"), timeout=PATIENCE_S) as http,
            Client(streamable_http_client(connected.url, http_client=http)) as client,
        ):
            before = await _called(client)
            assert await asyncio.to_thread(refresh) is Outcome.REFRESHED
            return [before, await _called(client)]

    assert asyncio.run(session()) == [f"token 1 for {connected.url}", f"token 2 for {connected.url}"]
