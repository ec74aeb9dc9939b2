"""Which hosts a provider's credentials may go to."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from models.providers import Provider
from models.providers.hosts import Hosts
from models.providers.presets import load_presets


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://login.example.com/token", ("login.example.com",)),
        ("https://Login.example.com:8443/token?x=https://evil.example", ("login.example.com",)),
        ("https://${account.subdomain}.example.com/token", ("*.example.com",)),
        ("https://${account.tenant}.${account.region}.auth.example.io/${account.id}", ("*.auth.example.io",)),
        ("https://${account.hostname}/token", ("*",)),
        ("https://api.${account.site}/token", ("*",)),
        ("https://${account.name}.com/token", ("*",)),
        ("${account.server_url}/token", ("*",)),
        (["https://${account.sub}.example.com/t", "https://example.com/t"], ("*.example.com", "example.com")),
        (["${account.server_url}/token", "https://b.example.com/t"], ("*", "b.example.com")),
        (None, ("*",)),
    ],
)
def test_they_are_those_of_its_urls(url: object, hosts: tuple[str, ...]) -> None:
    assert Provider.model_validate({"name": "one", "token_url": url}).allowed_hosts.patterns == hosts


def test_they_are_those_of_every_url_that_credentials_go_to() -> None:
    knobs = ("token_url", "refresh_url", "authorize_url", "device_url", "revocation_url")
    urls = {knob: f"https://{number}.example.com/x" for number, knob in enumerate(knobs)}
    found = Provider.model_validate({"name": "one", **urls}).allowed_hosts.patterns
    assert found == tuple(f"{number}.example.com" for number in range(len(knobs)))


def test_patterns_are_compared_in_one_spelling() -> None:
    named = Provider(name="one", hosts=("Login.Example.com.", "[::1]"))
    assert named.hosts == ("login.example.com", "::1")
    assert named.allowed_hosts.admit("login.example.com")


@pytest.mark.parametrize(
    ("host", "admitted"),
    [
        ("example.com", True),
        ("EXAMPLE.com.", True),
        ("a.wild.example", True),
        ("a.b.wild.example", True),
        ("wild.example", False),
        ("evilwild.example", False),
        ("example.com.evil.example", False),
        ("evil-example.com", False),
    ],
)
def test_a_pattern_is_a_host_or_all_below_a_domain(host: str, admitted: bool) -> None:
    assert Hosts(("example.com", "*.wild.example")).admit(host) is admitted


def test_an_account_s_knobs_move_nothing() -> None:
    """Neither a URL among its knobs nor `hosts` itself."""
    base = Provider(name="one", token_url="https://login.example.com/token")
    moved = base.for_account({"token_url": "https://evil.example/token", "hosts": ["*"]})
    assert moved.allowed_hosts.patterns == ("login.example.com",)


@pytest.mark.parametrize(
    ("provider", "token_urls", "hosts"),
    [
        ({}, (), ()),
        ({}, ("https://idp.example/token",), ("idp.example",)),
        ({}, ("https://new.example/t", "https://old.example/t"), ("new.example", "old.example")),
        ({}, ("${account.server_url}/token",), ()),
        ({"token_url": ["https://${account.host}/t", "https://git.example/t"]}, (), ("git.example",)),
        (
            {"token_url": "https://${account.sub}.desk.example/t"},
            ("https://x.example/t",),
            ("*.desk.example",),
        ),
        ({"token_url": "https://login.example/t"}, ("https://x.example/t",), ("login.example",)),
        ({"hosts": ["a.example"]}, ("https://x.example/t",), ("a.example",)),
        ({"hosts": ["*"]}, ("https://x.example/t",), ("x.example",)),
    ],
)
def test_a_shared_client_s_secret_goes_to_no_host_that_an_account_alone_names(
    provider: dict[str, object], token_urls: tuple[str, ...], hosts: tuple[str, ...]
) -> None:
    found = Provider.model_validate({"name": "one", **provider}).for_client(token_urls, None)
    assert found.allowed_hosts.patterns == hosts


@pytest.mark.parametrize(
    ("of_client", "hosts"),
    [("https://as.example", ("as.example",)), ("https://other.example", ()), (None, ())],
)
def test_a_client_s_secret_goes_to_the_hosts_of_its_own_issuer_alone(
    of_client: str | None, hosts: tuple[str, ...]
) -> None:
    read = Provider(name="issuer", issuer="https://as.example/", token_url="https://as.example/token")
    assert read.for_client((), of_client).allowed_hosts.patterns == hosts


def test_a_shared_client_leaves_the_host_that_rates_go_by_as_it_is() -> None:
    base = Provider(name="one").for_account({"token_url": "https://own.example/t"})
    assert base.for_client(("https://idp.example/t",), None).host == base.host


@pytest.mark.parametrize("pattern", ["https://example.com", "exa mple.com", "*example.com", "a.*.com", ""])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match="not a host"):
        Provider(name="one", hosts=(pattern,))


def test_every_preset_admits_its_own_urls() -> None:
    for provider in load_presets().values():
        urls = Provider.model_validate({**provider.model_dump(exclude_unset=True), "hosts": None})
        for host in urls.allowed_hosts.patterns:
            assert provider.hosts is None or host.startswith("*") or provider.allowed_hosts.admit(host), (
                f"{provider.name}: {host}"
            )
