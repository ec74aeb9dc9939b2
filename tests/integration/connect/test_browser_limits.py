"""Connect's pages for one network address: limited, with a page that goes on by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.connect.conftest import API, Platform
from tests.integration.connect.test_connect_http import Site, opened
from worker.api.connect.browser_limits import network_of
from worker.api.server import config_of
from worker.errors import SettingsError
from worker.settings.api import ApiSettings, load_api_settings

#: Ten seconds' worth are one page.
ONE_PAGE = 0.1


@pytest.fixture
def site(platform: Platform) -> Iterator[Site]:
    made = Site(platform, pages_per_s=ONE_PAGE, trusted_proxies="10.0.0.0/8, 127.0.0.1")
    yield made
    made.runner.run(made.context.aclose())
    made.runner.close()


def browser(site: Site, address: str, **headers: str) -> httpx.AsyncClient:
    config = config_of(site.app, site.context.api)
    config.load()
    app: Any = config.loaded_app
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=(address, 4000)), base_url=API, headers=headers
    )


def test_an_address_that_asks_too_often_gets_a_page_that_goes_on_and_others_go_on_meanwhile(
    site: Site,
) -> None:
    async def work() -> None:
        url = (await opened(site))["url"]
        async with browser(site, "192.0.2.1") as one, browser(site, "192.0.2.2") as other:
            assert (await one.get(url)).status_code == 200
            refused = await one.get(url)
            answered = await one.get("/connect/callback", params={"state": "s&t", "code": "c"})
            pressed = await one.post(url)
            assert (await other.get(url)).status_code == 200
            style = await one.get("/connect/style.css")

        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert "Nothing is lost" in refused.text
        assert f'content="{refused.headers["retry-after"]}; url={url}"' in refused.text
        assert refused.headers["content-security-policy"].startswith("default-src 'none'")
        assert f"url={API}/connect/callback?state=s%26t&amp;code=c" in answered.text
        assert (pressed.status_code, style.status_code) == (429, 200)

    site.run(work)


def test_the_address_behind_a_trusted_proxy_counts_and_a_strangers_word_does_not(site: Site) -> None:
    async def work() -> None:
        url = (await opened(site))["url"]
        for forwarded, status in (("192.0.2.1", 200), ("192.0.2.2, 10.1.1.1", 200), ("192.0.2.2", 429)):
            async with browser(site, "10.0.0.1", **{"x-forwarded-for": forwarded}) as one:
                assert (await one.get(url)).status_code == status
        for status in (200, 429):
            async with browser(site, "198.51.100.7", **{"x-forwarded-for": f"203.0.113.{status}"}) as one:
                assert (await one.get(url)).status_code == status

    site.run(work)


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1::7", "20010db800000001::/64"),
        ("2001:db8:0:1:ffff::1", "20010db800000001::/64"),
        ("fe80::1%eth0", "fe80000000000000::/64"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_a_network_is_counted_as_one(host: str, counted: str) -> None:
    assert network_of(host) == counted


def test_a_proxy_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFRESHD_API_TRUSTED_PROXIES", "10.0.0.1, proxy.example")
    with pytest.raises(SettingsError, match=r"REFRESHD_API_TRUSTED_PROXIES: .*proxy\.example"):
        load_api_settings()
    assert ApiSettings(trusted_proxies="").trusted_proxies is None
