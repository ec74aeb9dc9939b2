"""Metadata of an issuer are stored once, followed where its endpoint moved, and never to another host by themselves."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from sqlalchemy import Engine

from models.answer import Answer, Fault, Verdict
from models.refresh_request import RefreshRequest
from models.tables.issuer import IssuerMetadata
from models.token import Secret, TokenResponse
from tests.integration.conftest import Bench
from worker.db.accounts.stored import blank
from worker.db.engine import make_engine
from worker.db.intake.issuers import Issuers
from worker.issuers.caller import IssuerCaller
from worker.issuers.stored import AGAIN_S, IssuerProviders, IssuerReader
from worker.policy.reasons import REASONS
from worker.policy.verdicts.verdict import judge
from worker.providers.discovery.fetch import DocumentClient
from worker.providers.discovery.metadata import DiscoveryFailed, Failure, bare_issuer
from worker.providers.registry import Providers

ISSUER = "https://as.example.com"
RESOURCE = "https://mcp.example.com/mcp"


@dataclass
class World:
    """An issuer's server, and its token endpoints by URL."""

    engine: Engine
    now: float = 1_790_000_000.0
    document: dict[str, object] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)
    asked: int = 0
    gone: int = 404
    called: list[tuple[str, str | None]] = field(default_factory=list)

    def publish(self, token_endpoint: str, **more: object) -> None:
        self.document = {"issuer": ISSUER, "token_endpoint": token_endpoint, **more}
        self.alive = {token_endpoint}

    def answer_document(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/.well-known/oauth-authorization-server":
            return httpx.Response(404)
        self.asked += 1
        return httpx.Response(200, json=self.document)

    async def call(
        self, request: RefreshRequest, *, deadline: float, on_send: Callable[[], None] | None = None
    ) -> Answer:
        assert deadline
        assert on_send is None
        url = request.provider.token_url or ""
        self.called.append((url, request.provider.resource))
        if url not in self.alive:
            return Answer(status=self.gone)
        return Answer(status=200, token=TokenResponse(Secret("new")))

    @property
    def store(self) -> Issuers:
        return Issuers(self.engine)

    def refresh(self, providers: IssuerProviders, **knobs: object) -> Answer:
        account = blank("acct", provider="issuer")
        account.knobs = json.dumps({"issuer": ISSUER, **knobs})

        async def run() -> Answer:
            documents = DocumentClient(transport=httpx.MockTransport(self.answer_document))
            caller = IssuerCaller(self, documents, IssuerReader(self.store, providers, lambda: self.now))
            provider = Providers(None, providers).of(account)
            assert provider is not None
            request = RefreshRequest(
                account_id="acct", provider=provider, client_id="id", refresh_token=Secret("r")
            )
            deadline = asyncio.get_running_loop().time() + 30
            return await caller.call(request, deadline=deadline)

        return asyncio.run(run())


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    engine = make_engine(database_url)
    yield World(engine)
    engine.dispose()


def test_metadata_that_were_never_read_are_read_by_the_first_refresh_and_stored_for_all(world: World) -> None:
    world.publish(f"{ISSUER}/token")
    answer = world.refresh(IssuerProviders(world.store), resource=RESOURCE)
    assert answer.token is not None
    assert world.called == [(f"{ISSUER}/token", RESOURCE)]
    again = world.refresh(IssuerProviders(world.store))
    assert again.token is not None
    assert world.asked == 1


@pytest.mark.parametrize("status", [404, 410])
def test_moved_endpoint_on_the_same_host_is_followed_within_the_refresh(world: World, status: int) -> None:
    world.gone = status
    world.publish(f"{ISSUER}/token")
    providers = IssuerProviders(world.store)
    world.refresh(providers)
    world.publish(f"{ISSUER}/v2/token")
    world.now += AGAIN_S
    answer = world.refresh(providers, resource=RESOURCE)
    assert answer.token is not None
    assert world.called[-2:] == [(f"{ISSUER}/token", RESOURCE), (f"{ISSUER}/v2/token", RESOURCE)]


def test_moved_endpoint_on_another_host_gets_no_credentials_until_an_operator_accepts_it(
    world: World,
) -> None:
    world.publish(f"{ISSUER}/token")
    providers = IssuerProviders(world.store)
    world.refresh(providers)
    world.publish("https://other.example/token")
    world.now += AGAIN_S
    answer = world.refresh(providers)
    assert answer.fault is Fault.ENDPOINT_MOVED
    judged = judge(answer, ())
    assert (judged.verdict, judged.reason) == (Verdict.MISCONFIGURED, "endpoint_moved")
    assert "https://other.example/token" in (answer.fault_detail or "")
    assert "https://other.example/token" not in [url for url, _ in world.called]
    stored = world.store.find(ISSUER)
    assert stored is not None
    assert stored.failure == "endpoint_moved"

    async def accept() -> None:
        documents = DocumentClient(transport=httpx.MockTransport(world.answer_document))
        reader = IssuerReader(world.store, providers, lambda: world.now)
        await reader.read(documents, ISSUER, accept_hosts=True)

    asyncio.run(accept())
    assert world.refresh(providers).token is not None
    assert world.called[-1][0] == "https://other.example/token"


def test_issuer_is_asked_once_in_a_minute_however_many_accounts_meet_the_gap(world: World) -> None:
    world.publish(f"{ISSUER}/token")
    providers = IssuerProviders(world.store)
    world.refresh(providers)
    world.alive = set()
    world.now += AGAIN_S
    for _ in range(5):
        assert world.refresh(providers).status == 404
    assert world.asked == 2


def test_document_of_another_issuer_is_refused_with_its_reason(world: World) -> None:
    world.publish(f"{ISSUER}/token")
    world.document["issuer"] = "https://evil.example"
    answer = world.refresh(IssuerProviders(world.store))
    assert (judge(answer, ()).verdict, judge(answer, ()).reason) == (Verdict.MISCONFIGURED, "wrong_issuer")
    assert world.called == []


def test_endpoint_with_a_variable_is_refused(world: World) -> None:
    """A server must not name a token endpoint that has an account's secrets in its URL."""
    world.publish(f"{ISSUER}/token?key=${{custom.private_key}}")
    answer = world.refresh(IssuerProviders(world.store))
    assert answer.fault is Fault.NO_METADATA
    assert world.called == []


def test_every_failure_of_discovery_is_a_reason_with_its_sentence() -> None:
    assert [failure.value for failure in Failure if failure.value not in REASONS] == []


def test_slash_that_is_the_whole_path_does_not_make_another_issuer() -> None:
    assert bare_issuer(f"{ISSUER}/") == ISSUER
    assert bare_issuer(f"{ISSUER}/tenant/") == f"{ISSUER}/tenant/"


def test_metadata_that_name_no_known_client_authentication_are_refused(world: World) -> None:
    world.publish(f"{ISSUER}/token", token_endpoint_auth_methods_supported=["tpm_attested"])

    async def read() -> None:
        documents = DocumentClient(transport=httpx.MockTransport(world.answer_document))
        await IssuerReader(world.store, IssuerProviders(world.store), lambda: world.now).read(
            documents, ISSUER
        )

    with pytest.raises(DiscoveryFailed, match="authenticate clients"):
        asyncio.run(read())


def test_the_event_loop_asks_the_database_for_no_issuer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that hangs would stop deadlines, leases and answers of all calls."""
    asked_by: list[str] = []
    usual = Issuers.find_all

    def find_all(self: Issuers, issuers: Collection[str]) -> dict[str, IssuerMetadata]:
        asked_by.append(threading.current_thread().name)
        return usual(self, issuers)

    monkeypatch.setattr(Issuers, "find_all", find_all)
    for number in range(3):
        bench.add(
            f"acct-{number}",
            provider="issuer",
            knobs=json.dumps({"issuer": f"https://as-{number}.example"}),
            token_url=None,
        )

    bench.refresh(*(f"acct-{number}" for number in range(3)))

    assert len(asked_by) == 1
    assert "loop" not in asked_by[0]
