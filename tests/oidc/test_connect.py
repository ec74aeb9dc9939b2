"""Connect in Chromium against oidc-provider: each way ends at the platform with a reason, or on a page that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from refreshd_reader import Reader
from tests.oidc.connecting import ENTER, TAB, ConnectSite, Customer, looks
from tests.oidc.server import AuthorizationServer
from tests.oidc.test_resource import call_tool
from tests.screenshots.browser import Browser, chromium_or_left_out
from tests.support.services import RedisServer
from tests.support.waiting import wait_until
from worker.db.accounts.stored import Accounts


@pytest.fixture(scope="module")
def site(
    server: AuthorizationServer,
    tmp_path_factory: pytest.TempPathFactory,
    sqlite_template: Path,
    redis_service: RedisServer,
) -> Iterator[ConnectSite]:
    folder = tmp_path_factory.mktemp("connect")
    database = folder / "refreshd.db"
    database.write_bytes(sqlite_template.read_bytes())
    with ConnectSite(server, folder, f"sqlite:///{database}", redis_service.url_of(15)) as running:
        yield running


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with chromium_or_left_out() as browser:
        looks(browser, width=1280)
        yield browser


@pytest.fixture
def customer(site: ConnectSite, window: Browser) -> Customer:
    window.open("about:blank")
    made = Customer(window, site)
    made.another()
    return made


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
def test_a_customer_connects_and_the_token_can_be_read(
    site: ConnectSite, customer: Customer, redis_service: RedisServer, *, script: bool
) -> None:
    account = f"acct-{script}"
    opened = site.open(account, labels={"tenant": "northwind"})
    customer.browser.devtools("Emulation.setScriptExecutionDisabled", value=not script)
    try:
        customer.go(opened)
        assert customer.title == "Connect Acme CRM"
        assert "Northwind asks for access" in customer.browser.text("main")
        customer.press()
        query = customer.consent()
    finally:
        customer.browser.devtools("Emulation.setScriptExecutionDisabled", value=False)

    assert query == {"session": opened["id"], "account": account, "status": "connected"}
    shown = site.session(opened)
    assert (shown["status"], shown["outcome"], shown["generation"]) == ("connected", "connected", 1)
    with Reader.from_url(redis_service.url_of(15)) as reader:
        assert reader.get(account).generation == 1
    assert Accounts(site.engine).find([account])[account].label_set == {"tenant": "northwind"}


def test_a_customer_connects_a_resource_that_nothing_is_known_of_but_its_address(
    site: ConnectSite, window: Browser, resource: AuthorizationServer, redis_service: RedisServer
) -> None:
    customer = Customer(window, site, issuer=resource.issuer)
    customer.another()
    opened = site.open("notes", client=None, resource=resource.resource_url)
    customer.go(opened)
    assert customer.title == "Connect 127.0.0.1"
    customer.press()

    assert customer.consent()["status"] == "connected"
    with Reader.from_url(redis_service.url_of(15)) as reader:
        token = reader.get("notes").access_token
    assert call_tool(resource, token).json() == {"scope": "tools"}
    account = Accounts(site.engine).find(["notes"])["notes"]
    assert account.provider == "issuer"
    assert resource.resource_url in account.knobs


def test_a_customer_without_a_mouse_connects(site: ConnectSite, customer: Customer) -> None:
    customer.go(site.open("keyboard"))
    on_button = "return document.activeElement.tagName == 'BUTTON'"
    if not customer.browser.run(
        on_button
    ):  # a window that never had the focus gives it to no element by itself
        customer.browser.press(TAB)
    wait_until(lambda: bool(customer.browser.run(on_button)), "the button has the focus")
    customer.browser.press(ENTER)
    customer.arrive(site.server.issuer)
    assert customer.consent()["status"] == "connected"


def test_a_customer_who_consented_before_connects_again_under_the_same_id(
    site: ConnectSite, customer: Customer
) -> None:
    for generation in (1, 2):
        opened = site.open("again")
        customer.go(opened)
        customer.press()
        assert customer.consent()["status"] == "connected"
        assert site.session(opened)["generation"] == generation


def test_a_customer_who_declines_comes_back_with_the_reason(site: ConnectSite, customer: Customer) -> None:
    opened = site.open("declined")
    customer.go(opened)
    customer.press()

    assert customer.decline() == {
        "session": opened["id"],
        "account": "declined",
        "status": "failed",
        "reason": "refused",
    }
    assert site.session(opened)["detail"].startswith("access_denied")


def test_a_session_that_ended_while_the_customer_consented_comes_back_with_the_reason(
    site: ConnectSite, customer: Customer
) -> None:
    opened = site.open("late")
    customer.go(opened)
    customer.press()
    site.over()

    assert customer.consent()["reason"] == "expired"


def test_a_page_that_is_opened_too_late_says_so_and_leads_back(site: ConnectSite, customer: Customer) -> None:
    opened = site.open("too-late")
    site.over()
    customer.go(opened)

    assert customer.title == "Acme CRM is not connected"
    customer.browser.click("a.button")
    assert customer.returned()["reason"] == "expired"


def test_a_button_that_is_clicked_twice_connects_once(site: ConnectSite, customer: Customer) -> None:
    opened = site.open("twice")
    customer.go(opened)
    customer.browser.run(
        "const form = document.querySelector('form'); form.submit(); setTimeout(() => form.submit(), 1);"
    )
    customer.arrive(site.server.issuer)

    assert customer.consent()["status"] == "connected"
    customer.browser.run("history.back()")
    customer.go(opened)
    assert customer.title == "Acme CRM is connected"


def test_an_answer_that_belongs_to_no_session_leads_to_a_page(site: ConnectSite, customer: Customer) -> None:
    customer.browser.open(f"{site.api.url}/connect/callback?state=foreign&code=injected")

    assert customer.title == "This answer was not expected"


def test_a_browser_that_lost_its_cookie_is_led_to_a_page_and_ends_nothing(
    site: ConnectSite, customer: Customer
) -> None:
    opened = site.open("lost")
    customer.go(opened)
    customer.press()
    customer.browser.devtools("Network.deleteCookies", name=_cookie(customer), url=site.api.url)
    at = customer.browser.url
    assert at.startswith(site.server.issuer)
    customer.browser.click("a[href$='/abort']")
    customer.arrive(site.api.url)

    assert customer.title == "This was begun in another browser"
    assert site.session(opened)["status"] == "started"
    customer.browser.click("a.button")
    assert customer.returned()["reason"] == "lost_session"


def test_an_error_of_the_provider_comes_back_with_the_reason(site: ConnectSite, customer: Customer) -> None:
    opened = site.open("no-pkce", "without-pkce")
    customer.go(opened)
    customer.browser.click("button")

    assert customer.returned()["reason"] == "misconfigured"
    assert "PKCE" in site.session(opened)["detail"]


@pytest.mark.parametrize(
    ("client", "reason"), [("wrong-secret", "misconfigured"), ("other-issuer", "wrong_issuer")]
)
def test_a_consent_that_brings_no_grant_comes_back_with_the_reason(
    site: ConnectSite, customer: Customer, client: str, reason: str
) -> None:
    opened = site.open(client, client)
    customer.go(opened)
    customer.press()

    assert customer.consent()["reason"] == reason
    assert site.session(opened)["reason"] == reason
    assert not Accounts(site.engine).find([client])


def test_the_api_may_start_again_while_the_customer_consents(site: ConnectSite, customer: Customer) -> None:
    customer.go(site.open("restart"))
    customer.press()
    site.api.stop()
    site.api.start()

    assert customer.consent()["status"] == "connected"


def _cookie(customer: Customer) -> str:
    found = customer.browser.devtools("Network.getAllCookies")["cookies"]
    (name,) = [one["name"] for one in found if one["name"].startswith("refreshd-connect-")]
    return str(name)
