"""What one server answers, or does not, keeps no other registration from being kept up, and loses no secret of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from models.tables.client import Client
from models.tables.issuer import ClientRegistration, IssuerMetadata
from models.token import Secret
from tests.integration.conftest import Bench
from tests.integration.connect.mcp_world import ISSUER, McpWorld
from tests.integration.issuers.conftest import aged
from tests.integration.issuers.test_upkeep import (
    DAY_S,
    MANAGED,
    client_of,
    failures,
    refused,
    secret_of,
)
from worker.accounts.clients.editor import ClientEditor
from worker.db.intake.issuers import Issuers, Registrations
from worker.db.intake.registration_failures import RegistrationFailure
from worker.intake import upkeep
from worker.intake.registrations import FORGOTTEN_AFTER_S, managed, renewed
from worker.intake.services import account_services, publisher_of
from worker.intake.upkeep import READ_AGAIN_S, UNASKED_AFTER_S, keep_up
from worker.issuers.stored import IssuerReader
from worker.providers.discovery.fetch import DocumentClient
from worker.providers.discovery.metadata import DiscoveryFailed, Failure

OTHER = "https://other.example"
Register = Callable[..., Client]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite: what differs between databases is tested beside this."""
    return sqlite_url


class Rotating:
    """A server that gives a new registration token with every answer, and knows the newest alone."""

    def __init__(self, world: McpWorld, **answered: Any) -> None:
        self.world, self.answered = world, answered
        self.given, self.fails_put, self.loses_put = 0, 0, 0

    @property
    def token(self) -> str:
        return f"marker-token-{self.given}" if self.given else "marker-token"

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] != f"Bearer {self.token}":
            return httpx.Response(401, json={"error": "invalid_token"})
        if request.method == "PUT" and self.fails_put:
            self.fails_put -= 1
            return httpx.Response(503)
        self.given += 1
        if request.method == "PUT" and self.loses_put:
            self.loses_put -= 1
            raise httpx.ReadError("the answer is lost")
        assert self.world.managed is not None
        return httpx.Response(
            200, json={**self.world.managed, "registration_access_token": self.token, **self.answered}
        )


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what failed tried again with the next run."""
    monkeypatch.setattr(upkeep, "wait_s", lambda _: 0.0)


def token_of(bench: Bench) -> str:
    name = "as.example.com"
    return managed(bench.runtime, name, Registrations(bench.runtime.engine).find(name))[1].reveal()


def add_dead(bench: Bench, number: int, *, ends_at: float) -> None:
    """Add clients whose server is gone for good."""
    registrations = Registrations(bench.runtime.engine)
    for name in (f"dead-{one}" for one in range(number)):
        bench.add_client(
            name, provider="issuer", issuer=ISSUER, secret_expires_at=ends_at, changed_at=ends_at - 30 * DAY_S
        )
        sealed = bench.runtime.cipher.seal(Secret("t"), account=name, field="registration")
        registrations.save(
            ClientRegistration(
                client=name,
                issuer=ISSUER,
                redirect_uri="https://api.example/connect/callback",
                registration_client_uri=f"https://{name}.example/c",
                registration_access_token_sealed=sealed,
                registered_at=ends_at - 30 * DAY_S,
            )
        )


def add_issuer(bench: Bench) -> None:
    """Add an issuer whose metadata are to be read again."""
    bench.runtime.issuers.save(IssuerMetadata(issuer=OTHER, document="{}", read_at=1.0, asked_at=1.0))


def test_renewal_that_leaves_the_secret_out_keeps_the_one_that_is_stored(
    bench: Bench, world: McpWorld, registered: Register
) -> None:
    now = bench.runtime.clock.now()
    registered(client_secret_expires_at=now + 3 * DAY_S, **MANAGED)
    world.rotates_secret = False
    world.manage(**MANAGED, client_secret_expires_at=now + 90 * DAY_S)
    assert world.managed is not None
    del world.managed["token_endpoint_auth_method"]

    assert keep_up(bench.runtime)["renewed"] == 1

    client = client_of(bench)
    assert (secret_of(bench), client.client_auth) == ("marker-registered", "body")
    assert client.secret_expires_at == pytest.approx(now + 90 * DAY_S)


@pytest.mark.parametrize("error", [LookupError("a bug of ours"), httpx.InvalidURL("odd"), OverflowError()])
def test_what_one_item_raises_ends_no_other_s_turn_and_is_noted(
    bench: Bench, world: McpWorld, registered: Register, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    now = bench.runtime.clock.now()
    registered(client_secret_expires_at=now + 3 * DAY_S, **MANAGED)
    world.manage(**MANAGED, client_secret_expires_at=now + 90 * DAY_S)
    add_issuer(bench)
    aged(bench, "issuer_metadata", "asked_at", READ_AGAIN_S + 60)

    def edit(*_: object) -> None:
        raise error

    monkeypatch.setattr(ClientEditor, "edit", edit)
    assert keep_up(bench.runtime) == {"read": 1, "renewed": 0, "registered": 0, "failed": 1}
    assert failures(bench) == {"as.example.com": "internal_error"}
    row = Issuers(bench.runtime.engine).find(OTHER)
    assert row is not None
    assert row.asked_at >= now  # it was asked, and is not the first again


def test_metadata_that_raise_are_noted_and_the_next_are_read(
    bench: Bench, world: McpWorld, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = bench.runtime.clock.now()
    registered()
    add_issuer(bench)
    aged(bench, "issuer_metadata", "asked_at", READ_AGAIN_S + 60)
    found = world.answer_document

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "other.example":
            raise LookupError("a bug of ours")
        return found(request)

    monkeypatch.setattr(world, "answer_document", answer)
    assert keep_up(bench.runtime)["read"] == 1
    row = Issuers(bench.runtime.engine).find(OTHER)
    assert row is not None
    assert (row.asked_at >= now, row.failure) == (True, "no_metadata")
    assert "LookupError" in (row.detail or "")
    assert "a bug" not in (row.detail or "")


@pytest.mark.usefixtures("at_once")
def test_token_and_secret_of_an_answer_are_stored_before_the_next_question(
    bench: Bench, world: McpWorld, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = bench.runtime.clock.now()
    registered(client_secret_expires_at=now + 3 * DAY_S, **MANAGED)
    world.rotates_secret = False
    world.manage(**MANAGED, client_secret="marker-got", client_secret_expires_at=now + 4 * DAY_S)
    server = Rotating(world)
    server.fails_put = 1
    monkeypatch.setattr(world, "_manage", server)

    assert keep_up(bench.runtime)["renewed"] == 0
    assert (token_of(bench), secret_of(bench)) == ("marker-token-1", "marker-got")
    assert client_of(bench).secret_expires_at == pytest.approx(now + 4 * DAY_S)

    aged(bench, "client", "changed_at", 60 * DAY_S)
    world.managed |= {"client_secret_expires_at": now + 90 * DAY_S}  # type: ignore[operator]
    assert keep_up(bench.runtime)["renewed"] == 1
    assert token_of(bench) == "marker-token-3"


@pytest.mark.usefixtures("at_once")
def test_server_that_rotates_the_token_as_it_is_asked_has_not_forgotten_the_client(
    bench: Bench, world: McpWorld, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(**MANAGED)
    aged(bench, "client_registration", "registered_at", 2 * DAY_S)
    refused(bench, ago_s=FORGOTTEN_AFTER_S + 60)
    world.manage(**MANAGED)
    monkeypatch.setattr(world, "_manage", Rotating(world, client_secret="marker-new"))

    for _ in range(2):
        keep_up(bench.runtime)
    assert len(world.registrations) == 1
    assert (client_of(bench).client_id, secret_of(bench)) == ("client-1", "marker-new")


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("ago_s", "again"), [(FORGOTTEN_AFTER_S + 60, 0), (UNASKED_AFTER_S + 60, 1)])
def test_refused_token_is_believed_later_where_an_answer_with_a_newer_one_was_lost(
    bench: Bench,
    world: McpWorld,
    registered: Register,
    monkeypatch: pytest.MonkeyPatch,
    ago_s: float,
    again: int,
) -> None:
    registered(**MANAGED)
    aged(bench, "client_registration", "registered_at", 2 * DAY_S)
    refused(bench, ago_s=ago_s)
    world.manage(**MANAGED)
    server = Rotating(world)
    server.loses_put = 1
    monkeypatch.setattr(world, "_manage", server)

    assert keep_up(bench.runtime)["registered"] == 0
    assert keep_up(bench.runtime)["registered"] == again


def test_renewal_by_hand_is_no_reason_to_take_the_client_for_forgotten(
    bench: Bench, world: McpWorld, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run had read the registration before, with the token that is spent since."""
    registered(**MANAGED)
    aged(bench, "client_registration", "registered_at", 2 * DAY_S)
    refused(bench, ago_s=FORGOTTEN_AFTER_S + 60)
    world.manage(**MANAGED)
    monkeypatch.setattr(world, "_manage", Rotating(world))
    stale = Registrations(bench.runtime.engine).find("as.example.com")
    with publisher_of(bench.runtime) as publisher:
        renewed(account_services(bench.runtime, publisher, bench.runtime.actor), "as.example.com")
    found = Registrations.find
    first = [stale]
    monkeypatch.setattr(Registrations, "find", lambda *of: first.pop() if first else found(*of))

    assert keep_up(bench.runtime)["registered"] == 0
    assert len(world.registrations) == 1


def test_dead_servers_leave_time_for_the_others(
    bench: Bench, world: McpWorld, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = bench.runtime.clock.now()
    registered(client_secret_expires_at=now + 3 * DAY_S, **MANAGED)
    world.manage(**MANAGED, client_secret_expires_at=now + 90 * DAY_S)
    add_dead(bench, 5, ends_at=now - 40 * DAY_S)
    aged(bench, "issuer_metadata", "asked_at", READ_AGAIN_S + 60)
    asked: list[str] = []
    send = DocumentClient.send

    async def dead(self: DocumentClient, method: str, url: str, *more: Any, **options: Any) -> Any:
        if "dead" not in url:
            return await send(self, method, url, *more, **options)
        asked.append(url)
        raise DiscoveryFailed(Failure.UNREACHABLE, url)

    monkeypatch.setattr(DocumentClient, "send", dead)
    monkeypatch.setattr(upkeep, "_RENEW_S", 0.0)  # one of them at a time

    done = [keep_up(bench.runtime) for _ in range(7)]

    assert [one["read"] for one in done] == [1, 0, 0, 0, 0, 0, 0]
    assert sum(one["renewed"] for one in done) == 1
    assert sorted(asked) == sorted(set(asked))  # none again before its time


def test_what_is_unreachable_is_tried_later_each_time() -> None:
    def after(tries: int, reason: str = "unreachable") -> float:
        return upkeep.wait_s(RegistrationFailure(0.0, reason, "", tries=tries))

    assert [after(tries) for tries in (1, 2, 3)] == [270, 570, 1170]
    assert after(50) == after(60) <= DAY_S
    assert after(50, "registration_refused") == 3600


async def test_reading_of_metadata_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.issuers.stored.READ_S", 0.01)

    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    reader: IssuerReader = bench.runtime.issuer_reader
    documents = DocumentClient(transport=httpx.MockTransport(hang))
    with pytest.raises(DiscoveryFailed) as raised:
        await reader.read(documents, OTHER)
    assert raised.value.failure is Failure.UNREACHABLE
    row = bench.runtime.issuers.find(OTHER)
    assert row is not None
    assert row.failure == "unreachable"


@pytest.mark.parametrize("end", [10**400, 1e300, "never", -1, True])
def test_secret_whose_end_is_no_point_in_time_has_none(
    registered: Callable[..., Client], end: object
) -> None:
    assert registered(client_secret_expires_at=end).secret_expires_at is None
