"""Connect over HTTP: what a platform's server and its customer's browser see of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from models.tables.api_key import ApiScope
from models.tables.audit import Actor
from models.tables.client import write_urls
from tests.integration.connect.conftest import API, RETURN_URL, Platform, granted
from tests.integration.connect.mcp_world import ISSUER, RESOURCE, McpWorld
from worker.api.application import make_app
from worker.api.context import ApiContext
from worker.connect.rendering import CONTENT_SECURITY_POLICY
from worker.db.intake.api_keys import ApiKeys
from worker.intake.client import IntakeClient
from worker.log import configure_logging
from worker.settings.api import ApiSettings

WANTED = {"account": "acct", "client": "crm-app", "return_url": RETURN_URL}


class Site:
    """The API process, with a key of the platform. The worker is asked through a function."""

    def __init__(self, platform: Platform, **api: Any) -> None:
        self.platform = platform
        self.runner = asyncio.Runner()
        runtime = platform.bench.runtime
        settings = runtime.settings.model_copy(
            update={"keys": None, "intake_key": SecretStr(runtime.cipher.intake_key)}
        )
        self.context = ApiContext(settings, ApiSettings(url=API, **api))
        self.context.providers.known = runtime.providers.known
        self.context.workers = IntakeClient(
            redis=self.context.reply_redis,
            prefix=settings.redis_prefix,
            sealer=self.context.intake_sealer,
            send=platform.asker.carried_out,
        )
        self.app: FastAPI = make_app(self.context)
        self.key = self.make_key("portal")

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test's requests, all of them on one event loop."""
        self.runner.run(work())

    def make_key(self, name: str, *scopes: str, **labels: str) -> str:
        keys = ApiKeys(self.platform.bench.runtime.engine)
        scopes = scopes or (ApiScope.CONNECT.value,)
        _, made = keys.create(name, scopes=scopes, labels=labels, expires_s=None, actor=Actor("t", "t"))
        return made.to_text()

    def client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=API, **options)

    def as_platform(self, key: str | None = None) -> httpx.AsyncClient:
        return self.client(headers={"authorization": f"Bearer {key or self.key}"})


@pytest.fixture
def site(platform: Platform) -> Iterator[Site]:
    made = Site(platform)
    yield made
    made.runner.run(made.context.aclose())
    made.runner.close()


async def opened(site: Site, **more: Any) -> dict[str, Any]:
    async with site.as_platform() as client:
        answer = await client.post("/v1/connect/sessions", json={**WANTED, **more})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def target_of(page: str) -> str:
    found = re.search(r'http-equiv="refresh" content="\d; url=([^"]+)"', page)
    assert found, page
    return found[1].replace("&amp;", "&")


def test_a_platform_connects_its_customer(site: Site) -> None:
    async def go() -> None:
        session = await opened(site, labels={"tenant": "acme"})
        assert session["url"] == f"{API}/connect/{session['id']}"
        async with site.client() as browser:
            page = await browser.get(session["url"])
            assert page.status_code == 200
            assert 'method="post"' in page.text
            going = await browser.post(session["url"])
            asked = dict(parse_qsl(urlsplit(target_of(going.text)).query))
            back = await browser.get("/connect/callback", params={"code": "c", "state": asked["state"]})
        assert back.status_code == 303
        assert (
            back.headers["location"] == f"{RETURN_URL}?session={session['id']}&account=acct&status=connected"
        )
        async with site.as_platform() as client:
            shown = (await client.get(f"/v1/connect/sessions/{session['id']}")).json()
        assert shown.pop("created_at") < shown.pop("ended_at") < shown.pop("expires_at")
        assert shown == {
            "id": session["id"], "account": "acct", "provider": "crm", "client": "crm-app",
            "labels": {"tenant": "acme"}, "return_url": RETURN_URL, "status": "connected", "reason": None,
            "detail": None, "outcome": "connected", "generation": 1,
        }  # fmt: skip

    site.run(go)


def test_every_page_is_strict_and_its_cookie_is_the_session_s(site: Site) -> None:
    async def go() -> None:
        session = await opened(site)
        async with site.client() as browser:
            answers = [
                await browser.get(session["url"]),
                await browser.post(session["url"]),
                await browser.get("/connect/none"),
                await browser.get("/connect/callback?state=foreign&code=x"),
                await browser.get(f"{session['url']}/finish"),
            ]
        for answer in answers:
            assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert "<script" not in answer.text
            assert " style=" not in answer.text
        cookie = answers[0].headers["set-cookie"]
        assert cookie.startswith("__Host-refreshd-connect-")
        for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/", "Max-Age="):
            assert part in cookie
        assert "Domain" not in cookie
        assert [answer.status_code for answer in answers] == [200, 200, 404, 400, 200]

    site.run(go)


def test_the_policy_of_the_pages_allows_no_script_no_frame_and_no_other_form() -> None:
    assert CONTENT_SECURITY_POLICY == (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def test_a_browser_without_the_cookie_is_told_what_to_do_and_ends_nothing(site: Site) -> None:
    async def go() -> None:
        session = await opened(site)
        async with site.client() as browser, site.client() as other:
            await browser.get(session["url"])
            asked = dict(parse_qsl(urlsplit(target_of((await browser.post(session["url"])).text)).query))
            query = {"code": "c", "state": asked["state"]}
            lost = await other.get("/connect/callback", params=query)
            assert lost.status_code == 403
            assert "another browser" in lost.text
            assert (await other.post(session["url"])).status_code == 403
            assert (await browser.get("/connect/callback", params=query)).status_code == 303

    site.run(go)


def test_a_button_on_another_site_presses_nothing(site: Site) -> None:
    async def go() -> None:
        session = await opened(site)
        async with site.client() as browser:
            await browser.get(session["url"])
            forged = await browser.post(session["url"], headers={"sec-fetch-site": "cross-site"})
            assert forged.status_code == 403
            own = await browser.post(session["url"], headers={"sec-fetch-site": "same-origin"})
            assert own.status_code == 200

    site.run(go)


def test_the_stylesheet_may_be_kept(site: Site) -> None:
    async def go() -> None:
        async with site.client() as browser:
            session = await opened(site)
            href = re.search(r'href="([^"]+style\.css[^"]*)"', (await browser.get(session["url"])).text)
            assert href
            sheet = await browser.get(href[1])
        assert sheet.headers["content-type"] == "text/css; charset=utf-8"
        assert "immutable" in sheet.headers["cache-control"]
        assert "prefers-color-scheme: dark" in sheet.text

    site.run(go)


#: What is wrong with a session -> the field that is named.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"return_url": "https://evil.example/"}, "return_url"),
    ({"return_url": "javascript:alert(1)"}, "return_url"),
    ({"client": "none"}, "client"),
    ({"client": "\0"}, "client"),
    ({"provider": "other"}, "provider"),
    ({"account": "no account's id"}, "account"),
    ({"labels": {"a b": "c"}}, "labels"),
    ({"labels": {f"n{n}": "v" for n in range(17)}}, "labels"),
    ({"custom_fields": {"a b": "c"}}, "custom_fields"),
    ({"expires_in_s": 5}, "expires_in_s"),
    ({"scope": "a\x00b"}, "scope"),
    ({"more": 1}, "more"),
    ({"account": 7}, "account"),
    ({"labels": []}, "labels"),
]


def test_what_is_wrong_with_a_session_is_named_by_its_field(site: Site) -> None:
    async def go() -> None:
        async with site.as_platform() as client:
            for more, field in WRONG:
                answer = await client.post("/v1/connect/sessions", json={**WANTED, **more})
                assert answer.status_code == 422, answer.text
                assert answer.headers["content-type"] == "application/problem+json"
                assert [one["field"] for one in answer.json()["errors"]] == [field]

    site.run(go)


def test_a_client_that_can_t_ask_for_consent_is_refused_when_the_session_is_opened(
    site: Site, platform: Platform
) -> None:
    crm = site.context.providers.known["crm"]
    known = dict(site.context.providers.known)
    known["tenants"] = crm.model_copy(
        update={"name": "tenants", "authorize_url": "https://${account.subdomain}.crm.example/authorize"}
    )
    known["jwt"] = crm.model_copy(update={"name": "jwt", "grant": "jwt_bearer"})
    site.context.providers.known = known
    refused = {"jwt": "provider", "nowhere": "provider", "tenants": "authorize_url"}
    for provider in refused:
        platform.add_client(provider, provider=provider)
    platform.add_client("nameless", client_id=None)

    async def go() -> None:
        async with site.as_platform() as client:
            for name, field in {**refused, "nameless": "client"}.items():
                answer = await client.post("/v1/connect/sessions", json={**WANTED, "client": name})
                assert answer.status_code == 422, answer.text
                assert [one["field"] for one in answer.json()["errors"]] == [field]
            given = {**WANTED, "client": "tenants", "custom_fields": {"subdomain": "acme"}}
            assert (await client.post("/v1/connect/sessions", json=given)).status_code == 201

    site.run(go)


def test_a_key_opens_and_sees_sessions_of_its_labels_alone(site: Site, platform: Platform) -> None:
    acme, other = site.make_key("acme", tenant="acme"), site.make_key("other", tenant="other")
    reader = site.make_key("reader", "accounts:read")

    async def go() -> None:
        async with site.as_platform(acme) as client:
            mine = (await client.post("/v1/connect/sessions", json=WANTED)).json()
            assert (await client.get(f"/v1/connect/sessions/{mine['id']}")).json()["labels"] == {
                "tenant": "acme"
            }
        async with site.as_platform(other) as client:
            assert (await client.get(f"/v1/connect/sessions/{mine['id']}")).status_code == 404
            opened_by_acme = platform.sessions.find(mine["id"])
            assert opened_by_acme is not None
            await asyncio.to_thread(platform.connected, opened_by_acme)
            assert (await client.post("/v1/connect/sessions", json=WANTED)).status_code == 404
        async with site.as_platform(reader) as client:
            assert (await client.post("/v1/connect/sessions", json=WANTED)).status_code == 403
        async with site.client() as client:
            assert (await client.post("/v1/connect/sessions", json=WANTED)).status_code == 401

    site.run(go)
    assert platform.bench.account().label_set == {"tenant": "acme"}


def test_a_session_that_is_asked_for_twice_with_one_key_is_opened_once(site: Site) -> None:
    async def go() -> None:
        async with site.as_platform() as client:
            client.headers["idempotency-key"] = "click-1"
            first = await client.post("/v1/connect/sessions", json=WANTED)
            second = await client.post("/v1/connect/sessions", json=WANTED)
        assert first.json() == second.json()
        assert second.headers["idempotency-replayed"] == "true"

    site.run(go)


def test_an_address_below_one_that_the_client_names_is_gone_back_to(site: Site, platform: Platform) -> None:
    platform.add_client("below", return_urls=write_urls(["https://app.example/tenants/*"]))

    async def go() -> None:
        session = await opened(site, client="below", return_url="https://app.example/tenants/acme?tab=crm")
        async with site.client() as browser:
            await browser.get(session["url"])
            asked = dict(parse_qsl(urlsplit(target_of((await browser.post(session["url"])).text)).query))
            back = await browser.get(
                "/connect/callback", params={"error": "access_denied", "state": asked["state"]}
            )
        assert back.headers["location"] == (
            f"https://app.example/tenants/acme?tab=crm&session={session['id']}&account=acct&status=failed&reason=refused"
        )

    site.run(go)


def test_no_answer_page_or_log_line_holds_a_secret(
    site: Site, platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.bench.answer = lambda _: granted(1)
    configure_logging("DEBUG")
    seen: list[str] = []
    ids: list[str] = []

    async def go() -> None:
        session = await opened(site, custom_fields={"subdomain": "marker-field"})
        async with site.client() as browser:
            await browser.get(session["url"])
            going = await browser.post(session["url"])
            asked = dict(parse_qsl(urlsplit(target_of(going.text)).query))
            back = await browser.get(
                "/connect/callback", params={"code": "marker-code", "state": asked["state"]}
            )
            seen.extend([going.text, back.text, str(back.headers)])
        async with site.as_platform() as client:
            seen.append((await client.get(f"/v1/connect/sessions/{session['id']}")).text)
        ids.append(session["id"])  # with it, the page of a session opens

    site.run(go)
    printed = capsys.readouterr()
    assert "marker" not in "".join([*seen, printed.out, printed.err])
    assert "/v1/connect/sessions/{id}" in printed.err
    assert ids[0] not in printed.out + printed.err


def test_platform_connects_an_mcp_server_by_its_address(
    site: Site, world: McpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFRESHD_CONNECT_RETURN_URLS", RETURN_URL)
    asked_for = {"account": "acct", "return_url": RETURN_URL, "resource": RESOURCE}

    async def go() -> None:
        async with site.as_platform() as client:
            answer = await client.post("/v1/connect/sessions", json=asked_for)
            assert answer.status_code == 201, answer.text
            session = answer.json()
        async with site.client() as browser:
            page = await browser.get(session["url"])
            assert "asks for access to your mcp.example.com account" in page.text
            going = await browser.post(session["url"])
            asked = dict(parse_qsl(urlsplit(target_of(going.text)).query))
            assert (asked["client_id"], asked["resource"]) == (
                "https://api.example/connect/client.json",
                RESOURCE,
            )
            back = await browser.get("/connect/callback", params={"code": "c", "state": asked["state"]})
        assert back.headers["location"].endswith("status=connected")

    world.server |= {
        "client_id_metadata_document_supported": True,
        "token_endpoint_auth_methods_supported": ["none"],
    }
    site.run(go)
    assert world.posted[0][1]["resource"] == RESOURCE


def test_address_that_leads_nowhere_is_a_422_with_its_reason_and_registers_nothing(
    site: Site, world: McpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFRESHD_CONNECT_RETURN_URLS", RETURN_URL)
    world.resource = "https://other.example"
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"resource": RESOURCE}, "resource", "[resource_mismatch]"),
        ({"resource": RESOURCE, "client": "none"}, "client", "there is no client"),
        ({"resource": RESOURCE, "return_url": "http://evil.example"}, "return_url", "plain http"),
        ({"resource": "http://mcp.example.com/mcp"}, "resource", "[unsafe_url]"),
        ({"issuer": "https://nowhere.example"}, "issuer", "[no_metadata]"),
        ({"issuer": ISSUER, "resource": RESOURCE}, "issuer", "give one of them"),
        ({}, "client", "is missing"),
    ]

    async def go() -> None:
        async with site.as_platform() as client:
            for more, field, words in wrong:
                body = {"account": "acct", "return_url": RETURN_URL, **more}
                answer = await client.post("/v1/connect/sessions", json=body)
                assert answer.status_code == 422, answer.text
                [problem] = answer.json()["errors"]
                assert problem["field"] == field, problem
                assert words in problem["reason"], problem
                assert problem.get("code") == (words.strip("[]") if words.startswith("[") else None)

    site.run(go)
    assert world.registrations == []


@pytest.mark.parametrize("address", [{"resource": RESOURCE}, {"issuer": ISSUER}])
def test_return_url_that_is_not_allowed_asks_nobody_and_registers_nothing(
    site: Site, world: McpWorld, address: dict[str, str]
) -> None:
    async def go() -> None:
        async with site.as_platform() as client:
            answer = await client.post(
                "/v1/connect/sessions", json={"account": "acct", "return_url": RETURN_URL, **address}
            )
            assert answer.status_code == 422, answer.text
            [problem] = answer.json()["errors"]
            assert problem["field"] == "return_url"
            assert "REFRESHD_CONNECT_RETURN_URLS" in problem["reason"]
            assert "return_urls" not in problem["reason"]

    site.run(go)
    assert (world.registrations, world.asked.total()) == ([], 0)


def test_document_of_this_installation_is_what_its_url_promises(site: Site) -> None:
    async def go() -> None:
        async with site.client() as server:
            answer = await server.get("/connect/client.json")
        assert answer.headers["content-type"] == "application/json"
        assert "max-age=3600" in answer.headers["cache-control"]
        assert answer.json() == {
            "client_id": f"{API}/connect/client.json", "client_name": "refreshd", "client_uri": f"{API}/",
            "redirect_uris": [f"{API}/connect/callback"], "response_types": ["code"],
            "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none",
            "application_type": "web",
        }  # fmt: skip

    site.run(go)
