"""From a button to a grant, and each way on which there is none."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

import httpx
import pytest
from sqlalchemy import text

from models.tables.account import Status
from tests.integration.connect.conftest import API, RETURN_URL, CookieJar, Platform, granted, on_both, outcome
from worker.connect.flow import Code, GoTo, NotSent, Show
from worker.db.engine import writing


def shown(found: Show | GoTo) -> tuple[int, str]:
    assert isinstance(found, Show), found
    return found.status, found.html


@on_both
def test_a_customer_connects_a_new_account(platform: Platform) -> None:
    session = platform.open(labels={"tenant": "acme"}, scope="contacts")
    browser = CookieJar()

    asked = platform.press(session, browser)
    query = outcome(platform.back(browser, code="the-code", state=asked["state"]))

    assert asked["redirect_uri"] == f"{API}/connect/callback"
    assert (asked["client_id"], asked["scope"]) == ("app-1", "contacts offline_access")
    assert query == {"session": session.id, "account": "acct", "status": "connected"}
    sent = parse_qs(platform.bench.requests[0].content.decode())
    digest = hashlib.sha256(sent["code_verifier"][0].encode()).digest()
    assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == asked["code_challenge"]
    assert (sent["code"], sent["client_secret"]) == (["the-code"], ["marker-client-secret"])
    account = platform.bench.account()
    assert (account.client, account.provider, account.label_set) == ("crm-app", "crm", {"tenant": "acme"})
    assert (account.status, account.scope) == (Status.ACTIVE, "contacts offline_access")
    token = platform.bench.token()
    assert token is not None
    assert token.access_token == "marker-access-1"
    (event,) = [one for one in platform.events() if one["account"] == "acct"]
    assert (event["type"], event["generation"]) == ("connected", str(account.generation))
    found = platform.sessions.find(session.id)
    assert found is not None
    assert (found.outcome, found.generation) == ("connected", account.generation)


@on_both
def test_an_account_that_needs_consent_connects_again_and_keeps_everything_else(platform: Platform) -> None:
    first = platform.open(labels={"tenant": "acme"})
    platform.connected(first)
    before = platform.bench.account()
    with writing(platform.bench.runtime.engine) as connection:
        connection.execute(
            text(
                "UPDATE account SET status = 'reauthorize', reason = 'invalid_grant', session_timeout_s = 1234"
            )
        )
    platform.bench.answer = lambda _: granted(2)

    query = platform.connected(platform.open(labels={"tenant": "another"}))

    assert query["status"] == "connected"
    after = platform.bench.account()
    assert (after.status, after.generation) == (Status.ACTIVE, before.generation + 1)
    assert (after.session_timeout_s, after.label_set) == (1234, {"tenant": "acme"})
    assert platform.bench.refresh_token() == "marker-refresh-2"
    token = platform.bench.token()
    assert token is not None
    assert token.access_token == "marker-access-2"
    assert [one["type"] for one in platform.events()] == ["connected", "recovered", "reconnected"]


def test_an_account_that_is_made_while_its_owner_consents_keeps_its_own_labels(platform: Platform) -> None:
    def made_meanwhile(_: httpx.Request) -> httpx.Response:
        platform.bench.add(
            provider="crm",
            client="crm-app",
            token_url=None,
            client_id=None,
            client_secret_sealed=None,
            labels='{"tenant": "own"}',
        )
        return granted()

    platform.bench.answer = made_meanwhile

    query = platform.connected(platform.open(labels={"tenant": "another"}))

    assert query["status"] == "connected"
    assert platform.bench.refresh_token() == "marker-refresh-1"
    assert platform.bench.account().label_set == {"tenant": "own"}


@on_both
def test_the_grant_and_the_end_of_the_session_are_one_commit(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> bool:
        raise RuntimeError("killed")

    session = platform.open()
    monkeypatch.setattr("worker.db.intake.connect_sessions.ConnectSessions.stored", broken)
    query = platform.connected(session)

    assert query["reason"] == "interrupted"
    assert platform.bench.runtime.engine is not None
    with writing(platform.bench.runtime.engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM account")).scalar_one() == 0


def test_what_the_redirect_and_the_session_say_of_the_account_is_kept(platform: Platform) -> None:
    session = platform.open(custom_fields={"subdomain": "marker-subdomain"})
    sealed = platform.sessions.custom_fields(session.id)
    platform.connected(session, realm="7")

    account = platform.bench.account()
    fields = platform.bench.runtime.sealer.custom_fields(account)
    assert {name: value.reveal() for name, value in fields.items()} == {
        "subdomain": "marker-subdomain",
        "realm_id": "7",
    }
    assert sealed is not None
    assert sealed.startswith("h1.")
    assert platform.sessions.custom_fields(session.id) is None


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"error": "access_denied"}, "refused"),
        ({"error": "invalid_scope", "error_description": "unknown scope"}, "misconfigured"),
        ({"error": "server_error"}, "provider_unavailable"),
        ({"error": "oops"}, "provider_error"),
        ({}, "provider_error"),
        ({"code": "the-code", "iss": "https://evil.example"}, "wrong_issuer"),
    ],
)
def test_a_redirect_without_a_code_ends_at_the_return_url_with_a_reason(
    platform: Platform, parameters: dict[str, str], reason: str
) -> None:
    session, browser = platform.open(), CookieJar()
    asked = platform.press(session, browser)

    query = outcome(platform.back(browser, state=asked["state"], **parameters))

    assert query == {"session": session.id, "account": "acct", "status": "failed", "reason": reason}
    assert platform.status(session) == ("failed", reason)
    assert not platform.bench.requests
    again = outcome(platform.back(browser, state=asked["state"], code="late"))
    assert again["reason"] == reason


@pytest.mark.parametrize(
    ("answer", "reason", "detail"),
    [
        (
            httpx.Response(400, json={"error": "invalid_grant", "error_description": "expired"}),
            "code_refused",
            "expired",
        ),
        (httpx.Response(401, json={"error": "invalid_client"}), "misconfigured", "invalid_client"),
        (
            httpx.Response(400, json={"error": "invalid_grant", "error_description": "\0"}),
            "code_refused",
            "\ufffd",
        ),
        (httpx.Response(503), "provider_unavailable", ""),
        (httpx.Response(429), "provider_unavailable", ""),
        (granted(refresh_token=None), "no_refresh_token", None),
    ],
)
def test_an_exchange_that_brings_no_grant_has_a_reason(
    platform: Platform, answer: httpx.Response, reason: str, detail: str | None
) -> None:
    platform.bench.answer = lambda _: answer
    session = platform.open()

    query = platform.connected(session)

    assert (query["status"], query["reason"]) == ("failed", reason)
    found = platform.sessions.find(session.id)
    assert found is not None
    assert (found.detail is None) if detail is None else (detail in (found.detail or ""))
    assert "marker" not in str(found.model_dump())


def test_a_grant_that_another_account_holds_is_refused(platform: Platform) -> None:
    platform.connected(platform.open("one"))

    query = platform.connected(platform.open("two"))

    assert query["reason"] == "grant_in_use"
    with writing(platform.bench.runtime.engine) as connection:
        assert connection.execute(text("SELECT id FROM account")).scalars().all() == ["one"]


@on_both
def test_a_callback_that_comes_twice_is_exchanged_once(platform: Platform) -> None:
    session, browser = platform.open(), CookieJar()
    asked = platform.press(session, browser)

    def follow(_: int) -> Show | GoTo:
        return platform.back(browser, code="the-code", state=asked["state"])

    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(follow, range(3)))

    assert len(platform.bench.requests) == 1
    assert any(isinstance(one, GoTo) for one in found)
    assert all("Almost done" in one.html for one in found if isinstance(one, Show))
    assert outcome(follow(0))["status"] == "connected"
    assert len(platform.bench.requests) == 1


def test_a_button_that_is_pressed_twice_asks_the_same_question(platform: Platform) -> None:
    session, browser = platform.open(), CookieJar()

    first, second = platform.press(session, browser), platform.press(session, browser)

    assert first == second
    assert outcome(platform.back(browser, code="the-code", state=first["state"]))["status"] == "connected"


def test_another_browser_neither_finishes_a_session_nor_ends_it(platform: Platform) -> None:
    session, browser, thief = platform.open(), CookieJar(), CookieJar()
    asked = platform.press(session, browser)

    for parameters in ({"code": "the-code"}, {"error": "access_denied"}):
        for other in (CookieJar(), thief):
            status, page = shown(platform.back(other, state=asked["state"], **parameters))
            assert status == 403
            assert "another browser" in page
            assert "reason=lost_session" in page
    status, page = shown(platform.flow.open(session.id, CookieJar()))
    assert (status, "another browser" in page) == (403, True)
    thief.keys = {session.id: type(browser.keys[session.id]).new()}
    assert shown(platform.begin(session.id, thief))[0] == 403
    assert shown(platform.flow.finish(session.id, thief))[0] == 403

    assert platform.status(session) == ("started", None)
    assert outcome(platform.back(browser, code="the-code", state=asked["state"]))["status"] == "connected"


@pytest.mark.parametrize(
    "query", [[], [("state", "")], [("state", "foreign"), ("code", "x")], [("code", "x")]]
)
def test_a_foreign_answer_ends_on_a_page_that_says_what_to_do(
    platform: Platform, query: list[tuple[str, str]]
) -> None:
    session, browser = platform.open(), CookieJar()
    platform.press(session, browser)

    status, page = shown(platform.back(browser, **dict(query)))

    assert status == 400
    assert "not expected" in page
    assert "connect again" in page
    assert platform.status(session) == ("started", None)


def test_a_session_whose_time_is_over_ends_at_the_return_url_or_on_a_page(platform: Platform) -> None:
    session, browser = platform.open(), CookieJar()
    asked = platform.press(session, browser)
    platform.over()

    status, page = shown(platform.flow.open(session.id, CookieJar()))
    assert status == 410
    assert "time to connect is over" in page
    assert f"{RETURN_URL}?session={session.id}&amp;account=acct&amp;status=failed&amp;reason=expired" in page
    query = outcome(platform.back(browser, code="late", state=asked["state"]))
    assert query["reason"] == "expired"
    assert not platform.bench.requests


def test_a_button_without_its_cookie_leads_to_a_page_that_says_so(platform: Platform) -> None:
    session, browser = platform.open(), CookieJar()
    platform.flow.open(session.id, browser)

    status, page = shown(platform.begin(session.id, browser))
    assert (status, "did not keep a cookie" in page) == (403, True)
    platform.press(session, browser)
    status, _ = shown(platform.begin(session.id, browser, from_our_page=False))
    assert status == 403


def test_an_unknown_session_leads_to_a_page_that_says_so(platform: Platform) -> None:
    for found in (
        platform.flow.open("cs_" + "a" * 32, CookieJar()),
        platform.flow.open("\0", CookieJar()),
        platform.begin("cs_none", CookieJar()),
        platform.flow.finish("cs_none", CookieJar()),
    ):
        assert shown(found)[0] == 404


def test_a_code_that_reaches_no_worker_ends_its_session(platform: Platform) -> None:
    def unsent(_: Code) -> None:
        raise NotSent

    platform.exchange = unsent
    assert platform.connected(platform.open())["reason"] == "no_worker"


def test_a_browser_waits_for_a_worker_that_takes_long_and_is_not_kept_for_ever(platform: Platform) -> None:
    taken: list[Code] = []
    platform.exchange = taken.append
    session, browser = platform.open(), CookieJar()
    asked = platform.press(session, browser)

    status, page = shown(platform.back(browser, code="the-code", state=asked["state"]))
    assert (status, "Almost done" in page) == (200, True)
    assert f"url={API}/connect/{session.id}/finish" in page
    assert "Almost done" in shown(platform.flow.finish(session.id, browser))[1]
    assert "Almost done" in shown(platform.flow.open(session.id, browser))[1]

    platform.over()
    assert outcome(platform.flow.finish(session.id, browser))["reason"] == "no_worker"
    platform.exchanged(taken[0])  # a message that comes late exchanges nothing
    assert not platform.bench.requests
    assert platform.status(session) == ("failed", "no_worker")


def test_a_worker_that_dies_in_the_exchange_leaves_a_session_that_ends_by_itself(platform: Platform) -> None:
    def died(code: Code) -> None:
        assert platform.sessions.claim(code.session.id)

    platform.exchange = died
    session, browser = platform.open(), CookieJar()
    asked = platform.press(session, browser)
    assert "Almost done" in shown(platform.back(browser, code="the-code", state=asked["state"]))[1]

    platform.over()
    assert outcome(platform.flow.finish(session.id, browser))["reason"] == "interrupted"
    assert platform.sessions.end_overdue() == 1
    assert platform.status(session) == ("failed", "interrupted")


def test_a_session_that_has_its_grant_says_so_to_whoever_opens_it_again(platform: Platform) -> None:
    session, browser = platform.open(), CookieJar()
    platform.connected(session, browser)

    status, page = shown(platform.flow.open(session.id, browser))
    assert (status, "Acme CRM is connected" in page) == (200, True)
    assert outcome(platform.flow.finish(session.id, browser))["status"] == "connected"


def test_an_account_of_other_labels_is_not_connected_by_a_key_that_does_not_see_it(
    platform: Platform,
) -> None:
    session = platform.open(key_labels={"tenant": "acme"})
    platform.connected(platform.open(key_labels={"tenant": "other"}))
    platform.bench.answer = lambda _: granted(2)

    query = platform.connected(session)

    assert query["reason"] == "not_stored"
    assert platform.bench.refresh_token() == "marker-refresh-1"


def test_the_pages_name_who_asks_and_the_provider_and_escape_both(platform: Platform) -> None:
    platform.flow._name = "<Acme & Sons>"
    _, page = shown(platform.flow.open(platform.open().id, CookieJar()))

    assert "&lt;Acme &amp; Sons&gt; asks for access to your Acme CRM account" in page
    assert "<script" not in page
    assert " style=" not in page
    assert page.count("<button") == 1
