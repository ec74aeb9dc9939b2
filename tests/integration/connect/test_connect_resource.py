"""An MCP server's address is enough in Connect: a worker finds its authorization server and a client, and each refresh names it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from sqlalchemy import text

from models.tables.account import Status
from models.tables.attempt import Trigger
from models.tables.client import write_urls
from tests.integration.connect.conftest import API, CookieJar, Platform, outcome
from tests.integration.connect.mcp_world import ISSUER, RESOURCE, McpWorld
from worker.accounts.entry import RowRefused
from worker.connect.flow import GoTo
from worker.connect.preparing import LOOKUPS_MAX
from worker.db.accounts.clients import Clients
from worker.db.engine import writing
from worker.db.intake.issuers import Issuers, Registrations
from worker.intake.requests import Code, Op, Reply
from worker.issuers.caller import IssuerCaller


def prepared(platform: Platform, *, base_url: str = API, **wanted: Any) -> Reply:
    """Have a worker find what an address leads to, as the API does."""
    return platform.asker.ask(Op.PREPARE_CONNECT, base_url=base_url, name="Northwind", **wanted)


def found(platform: Platform, **wanted: Any) -> dict[str, Any]:
    reply = prepared(platform, **(wanted or {"resource": RESOURCE}))
    assert reply.code is Code.DONE, reply
    return reply.result


def refreshed(platform: Platform, world: McpWorld, times: int) -> None:
    runtime = platform.bench.runtime
    caller = next(iter(runtime.callers.values()))
    for method in list(runtime.callers):
        runtime.callers[method] = IssuerCaller(caller, world.documents(), runtime.issuer_reader)
    for _ in range(times):
        seen = platform.bench.account().generation
        platform.bench.refresh(seen=seen, trigger=Trigger.FORCED)


def test_address_is_enough_from_the_button_to_the_third_refresh(platform: Platform, world: McpWorld) -> None:
    session = platform.open(client=None, resource=RESOURCE, found=found(platform), labels={"tenant": "acme"})
    browser = CookieJar()
    asked = platform.press(session, browser)

    query = outcome(platform.back(browser, code="the-code", state=asked["state"]))

    assert query["status"] == "connected"
    assert (asked["client_id"], asked["resource"], asked["scope"]) == ("client-1", RESOURCE, "tools")
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{API}/connect/callback"
    refreshed(platform, world, 3)
    assert [sent["resource"] for _, sent in world.posted] == [RESOURCE] * 4
    assert [sent["grant_type"] for _, sent in world.posted] == ["authorization_code", *["refresh_token"] * 3]
    assert {sent["client_secret"] for _, sent in world.posted} == {"marker-registered"}
    account = platform.bench.account()
    assert (account.provider, account.client, account.generation) == ("issuer", "as.example.com", 4)
    assert account.label_set == {"tenant": "acme"}
    [registered] = world.registrations
    assert (registered["client_name"], registered["application_type"]) == ("Northwind", "web")
    assert registered["redirect_uris"] == [f"{API}/connect/callback"]


def test_addresses_that_never_answer_leave_threads_for_others(
    platform: Platform, world: McpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, asked = Event(), Semaphore(0)
    answer = world.answer_document

    def answer_late(request: httpx.Request) -> httpx.Response:
        asked.release()
        assert silent.wait(30)
        return answer(request)

    monkeypatch.setattr(world, "answer_document", answer_late)
    with ThreadPoolExecutor(LOOKUPS_MAX) as customers:
        slow = [customers.submit(prepared, platform, resource=RESOURCE) for _ in range(LOOKUPS_MAX)]
        for _ in slow:
            assert asked.acquire(timeout=30)
        another = prepared(platform, resource=RESOURCE)
        silent.set()
        assert {one.result().code for one in slow} == {Code.DONE}
    assert another.code is Code.UNAVAILABLE
    assert found(platform)["client"] == "as.example.com"


def test_one_registration_serves_all_sessions_of_an_issuer_and_none_of_the_command_line(
    platform: Platform, world: McpWorld
) -> None:
    assert found(platform)["client"] == found(platform)["client"] == "as.example.com"
    assert len(world.registrations) == 1
    assert (
        found(platform, resource=RESOURCE, base_url="https://other.example")["client"] == "as.example.com-2"
    )


def test_issuer_is_enough_and_no_resource_is_sent(platform: Platform, world: McpWorld) -> None:
    session = platform.open(client=None, issuer=ISSUER, scope="read", found=found(platform, issuer=ISSUER))

    query = platform.connected(session)

    assert query["status"] == "connected"
    assert "resource" not in world.posted[0][1]
    assert platform.bench.account().scope == "read"


def test_account_steps_up_by_its_id_and_a_scope_and_keeps_everything_else(
    platform: Platform, world: McpWorld
) -> None:
    platform.connected(platform.open(client=None, resource=RESOURCE, found=found(platform)))

    with writing(platform.bench.runtime.engine) as connection:
        connection.execute(text("UPDATE account SET session_timeout_s = 1234"))
    session = platform.open(client=None, scope="more")  # of a challenge: insufficient_scope
    browser = CookieJar()
    asked = platform.press(session, browser)
    assert asked["scope"] == "tools more"
    query = outcome(platform.back(browser, code="the-code", state=asked["state"]))

    assert query["status"] == "connected"
    assert world.posted[-1][1]["resource"] == RESOURCE
    account = platform.bench.account()
    assert (account.generation, account.scope, account.session_timeout_s) == (2, "tools more", 1234)


def test_resource_that_needs_more_now_is_asked_for_what_was_granted_as_well(
    platform: Platform, world: McpWorld
) -> None:
    platform.connected(platform.open(client=None, resource=RESOURCE, found=found(platform)))
    world.scope = "admin"

    session = platform.open(client=None, resource=RESOURCE, found=found(platform))

    assert platform.press(session, CookieJar())["scope"] == "tools admin"


def test_what_is_asked_is_pushed_by_a_worker_where_the_server_wants_that(
    platform: Platform, world: McpWorld
) -> None:
    world.server |= {
        "pushed_authorization_request_endpoint": f"{ISSUER}/par",
        "require_pushed_authorization_requests": True,
    }
    session, browser = platform.open(client=None, resource=RESOURCE, found=found(platform)), CookieJar()

    asked = platform.press(session, browser)

    assert asked == {"client_id": "client-1", "request_uri": "urn:pushed:1"}
    path, pushed = world.posted[0]
    assert path == "/par"
    assert (pushed["client_secret"], pushed["resource"]) == ("marker-registered", RESOURCE)
    assert {"state", "code_challenge", "redirect_uri", "response_type"} <= set(pushed)
    query = outcome(platform.back(browser, code="the-code", state=pushed["state"]))
    assert query["status"] == "connected"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((400, {"error": "invalid_request", "error_description": "no such scope"}), "misconfigured"),
        ((401, {"error": "invalid_client"}), "misconfigured"),
        ((400, {"error": "access_denied"}), "refused"),
        ((503, {}), "provider_unavailable"),
    ],
)
def test_push_that_is_refused_ends_the_session_at_the_return_url_with_a_reason(
    platform: Platform, world: McpWorld, answer: tuple[int, dict[str, Any]], reason: str
) -> None:
    world.server |= {
        "pushed_authorization_request_endpoint": f"{ISSUER}/par",
        "require_pushed_authorization_requests": True,
    }
    world.push_refusal = answer
    session, browser = platform.open(client=None, resource=RESOURCE, found=found(platform)), CookieJar()
    platform._kept(session, browser, platform.flow.open(session.id, browser))

    gone = platform.begin(session.id, browser)

    assert isinstance(gone, GoTo)
    assert dict(parse_qsl(urlsplit(gone.url).query))["reason"] == reason
    assert platform.status(session) == ("failed", reason)


@pytest.mark.parametrize("iss", [None, "https://evil.example"])
def test_redirect_without_the_promised_iss_is_refused(
    platform: Platform, world: McpWorld, iss: str | None
) -> None:
    world.server["authorization_response_iss_parameter_supported"] = True
    session, browser = platform.open(client=None, resource=RESOURCE, found=found(platform)), CookieJar()
    asked = platform.press(session, browser)

    more = {} if iss is None else {"iss": iss}
    query = outcome(platform.back(browser, code="the-code", state=asked["state"], **more))

    assert query["reason"] == "wrong_issuer"
    assert world.posted == []


def test_redirect_with_the_right_iss_connects(platform: Platform, world: McpWorld) -> None:
    world.server["authorization_response_iss_parameter_supported"] = True
    session = platform.open(client=None, resource=RESOURCE, found=found(platform))
    assert platform.connected(session, iss=ISSUER)["status"] == "connected"


def _no_metadata(world: McpWorld) -> None:
    world.server["issuer"] = "https://nowhere.example"


def _mismatch(world: McpWorld) -> None:
    world.resource = "https://other.example/mcp"


def _refused(world: McpWorld) -> None:
    world.refusal = {"error": "invalid_redirect_uri", "error_description": "not on the list"}


def _no_registration(world: McpWorld) -> None:
    del world.server["registration_endpoint"]


def _no_pkce(world: McpWorld) -> None:
    del world.server["code_challenge_methods_supported"]


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (_no_metadata, "no_metadata"),
        (_mismatch, "resource_mismatch"),
        (_refused, "registration_refused"),
        (_no_registration, "no_registration"),
        (_no_pkce, "pkce_unsupported"),
    ],
)
def test_address_that_leads_to_no_consent_is_refused_with_its_reason(
    platform: Platform, world: McpWorld, breaks: Any, reason: str
) -> None:
    breaks(world)

    reply = prepared(platform, resource=RESOURCE)

    assert reply.code is Code.REFUSED
    [problem] = reply.problems
    assert problem.field == "resource"
    assert f"[{reason}]" in problem.reason


@pytest.mark.usefixtures("world")
def test_stored_client_of_another_issuer_is_refused(platform: Platform) -> None:
    reply = prepared(platform, resource=RESOURCE, client="crm-app")
    assert "[wrong_issuer]" in reply.problems[0].reason
    reply = prepared(platform, resource=RESOURCE, client="none")
    assert reply.problems[0].field == "client"


@pytest.mark.usefixtures("world")
def test_client_that_was_registered_by_hand_comes_first(platform: Platform) -> None:
    found(platform)
    platform.add_client("by-hand", provider="issuer", issuer=ISSUER, return_urls=write_urls([]))
    assert found(platform)["client"] == "by-hand"


def test_server_that_reads_client_documents_gets_the_url_of_ours(platform: Platform, world: McpWorld) -> None:
    world.server |= {
        "client_id_metadata_document_supported": True,
        "token_endpoint_auth_methods_supported": ["client_secret_post", "none"],
    }
    session = platform.open(
        client=None,
        resource=RESOURCE,
        found=found(platform, resource=RESOURCE, base_url="https://refreshd.example.com"),
    )

    asked = platform.press(session, CookieJar())

    assert asked["client_id"] == "https://refreshd.example.com/connect/client.json"
    assert world.registrations == []
    client = Clients(platform.bench.runtime.engine).find(["as.example.com"])["as.example.com"]
    assert (client.client_auth, client.client_secret_sealed) == ("none", None)


@pytest.mark.parametrize(
    "base_url", ["http://refreshd.example.com", "https://localhost:8321", "https://10.0.0.7", "https://intra"]
)
def test_document_that_no_server_could_fetch_is_not_named(
    platform: Platform, world: McpWorld, base_url: str
) -> None:
    world.server |= {
        "client_id_metadata_document_supported": True,
        "token_endpoint_auth_methods_supported": ["client_secret_post", "none"],
    }
    found(platform, resource=RESOURCE, base_url=base_url)
    assert len(world.registrations) == 1


def test_registration_whose_secret_ends_gives_way_to_a_client_without_a_secret(
    platform: Platform, world: McpWorld
) -> None:
    world.server["token_endpoint_auth_methods_supported"] = ["client_secret_post", "none"]
    world.registered["client_secret_expires_at"] = platform.bench.runtime.clock.now() + 30 * 86400

    found(platform)

    assert [one["token_endpoint_auth_method"] for one in world.registrations] == [
        "client_secret_post",
        "none",
    ]
    client = Clients(platform.bench.runtime.engine).find(["as.example.com"])["as.example.com"]
    assert (client.client_id, client.secret_expires_at) == ("client-2", None)


def test_registration_that_ends_soon_serves_no_new_account(platform: Platform, world: McpWorld) -> None:
    world.registered["client_secret_expires_at"] = platform.bench.runtime.clock.now() + 86400
    assert found(platform)["client"] == "as.example.com"
    assert found(platform)["client"] == "as.example.com-2"
    assert len(Registrations(platform.bench.runtime.engine).with_issuer(ISSUER)) == 2


@pytest.mark.usefixtures("world")
def test_session_without_client_resource_and_issuer_is_refused(platform: Platform) -> None:
    with pytest.raises(RowRefused, match="client: is missing"):
        platform.open(client=None)
    with pytest.raises(RowRefused, match="issuer: is what a `resource` names"):
        platform.open(client=None, issuer=ISSUER, resource=RESOURCE)
    assert Issuers(platform.bench.runtime.engine).find(ISSUER) is None


def test_account_that_was_refused_is_active_again(platform: Platform, world: McpWorld) -> None:
    platform.connected(platform.open(client=None, resource=RESOURCE, found=found(platform)))
    platform.connected(platform.open(client=None, resource=RESOURCE, found=found(platform)))
    assert platform.bench.account().status == Status.ACTIVE
    assert len(world.registrations) == 1
