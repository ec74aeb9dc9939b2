"""The first grant on the wire: the consent page's URL, and the requests that exchange a code."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from msgspec.structs import replace

from models.answer import Answer
from models.providers import Provider
from models.refresh_request import RefreshRequest
from models.token import Secret, TokenResponse
from worker.providers.authorization import (
    Asking,
    code_request,
    consent_url,
    device_request,
    device_token_request,
    read_device_code,
    scope_of,
)
from worker.providers.request.builder import RequestBuilder
from worker.providers.request.draft import InvalidRequest

NOW = 1_790_000_000.0
BUILDER = RequestBuilder([])
ASKING = Asking("http://127.0.0.1:8123/callback", "the-state", Secret("the verifier"))
KNOBS: dict[str, Any] = {
    "name": "acme",
    "token_url": "https://acme.example/token",
    "authorize_url": "https://acme.example/consent",
    "device_url": "https://acme.example/device",
}


def request(scope: str | None = None, **knobs: Any) -> RefreshRequest:
    return RefreshRequest(
        account_id="acct",
        provider=Provider.model_validate({**KNOBS, **knobs}),
        client_id="client",
        client_secret=Secret("client-secret"),
        scope=scope,
        custom_fields={"tenant": Secret("t1")},
    )


def page(asked: RefreshRequest) -> httpx.URL:
    return httpx.URL(consent_url(asked, ASKING, check=BUILDER.check, now=NOW))


def sent(exchange: RefreshRequest) -> dict[str, str]:
    """Return the parameters of a form."""
    content = BUILDER.build(exchange, now=NOW).http.content.decode()
    return {name: values[0] for name, values in parse_qs(content).items()}


def test_the_page_is_asked_with_pkce_and_a_state() -> None:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"the verifier").digest()).rstrip(b"=").decode()
    assert dict(page(request("read write")).params) == {
        "response_type": "code",
        "client_id": "client",
        "redirect_uri": "http://127.0.0.1:8123/callback",
        "scope": "read write",
        "state": "the-state",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }


def test_state_and_verifier_are_drawn_anew_and_long() -> None:
    one, other = Asking.begin("http://127.0.0.1/"), Asking.begin("http://127.0.0.1/")
    assert one.state != other.state
    assert one.verifier != other.verifier
    assert len(one.state) >= 32
    assert 43 <= len(one.verifier.reveal()) <= 128  # RFC 7636 section 4.1


@pytest.mark.parametrize(
    ("knobs", "scope", "asked"),
    [
        ({}, None, None),
        ({"scopes": ["read"]}, None, "read"),
        ({"scopes": ["read"]}, "write", "write"),
        ({"offline_scope": "offline_access"}, None, "offline_access"),
        ({"offline_scope": "offline_access"}, "read", "read offline_access"),
        ({"offline_scope": "offline_access"}, "offline_access read", "offline_access read"),
    ],
)
def test_what_consent_is_asked_for(knobs: dict[str, Any], scope: str | None, asked: str | None) -> None:
    assert scope_of(request(scope, **knobs)) == asked
    assert page(request(scope, **knobs)).params.get("scope") == asked


def test_a_provider_adds_changes_and_leaves_out_parameters() -> None:
    asked = request(
        authorize_url="https://${account.tenant}.acme.example/consent?brand=x",
        authorize_params={"access_type": "offline", "hd": "${account.tenant}", "code_challenge_method": None},
        param_names={"client_id": "client_key"},
    )
    url = page(asked)
    assert url.host == "t1.acme.example"
    assert url.params["brand"] == "x"
    assert url.params["access_type"] == "offline"
    assert url.params["hd"] == "t1"
    assert url.params["client_key"] == "client"
    assert "client_id" not in url.params
    assert "code_challenge_method" not in url.params


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "authorize_url: acme has none"),
        ("https://${account.unknown}.acme.example/", "authorize_url: no value for account.unknown"),
        ("http://acme.example/consent", "authorize_url: plain http to acme.example is refused"),
        ("file:///etc/passwd", "authorize_url: it names no host"),
    ],
)
def test_nobody_is_sent_to_a_page_that_is_none(url: str | None, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        page(request(authorize_url=url))


def test_a_code_is_exchanged_at_the_token_endpoint_as_the_provider_wants_it() -> None:
    exchange = code_request(
        request(refresh_url="https://acme.example/refresh", headers={"x-api": "1"}, params={"audience": "a"}),
        ASKING,
        "the ${code}",
    )
    wire = BUILDER.build(exchange, now=NOW)
    assert str(wire.http.url) == "https://acme.example/token"
    assert wire.http.headers["x-api"] == "1"
    assert "the ${code}" not in wire.shown
    assert sent(exchange) == {
        "grant_type": "authorization_code",
        "code": "the ${code}",
        "redirect_uri": "http://127.0.0.1:8123/callback",
        "code_verifier": "the verifier",
        "client_id": "client",
        "client_secret": "client-secret",
        "audience": "a",
    }


def test_parameters_that_are_made_of_tokens_are_of_a_refresh_alone() -> None:
    exchange = code_request(
        request(params={"refresh_token": "${account.refresh_token}", "old": "x${account.access_token}"}),
        ASKING,
        "code",
    )
    assert {"refresh_token", "old"}.isdisjoint(sent(exchange))


def test_a_provider_without_pkce_is_not_sent_a_verifier() -> None:
    exchange = code_request(request(authorize_params={"code_challenge": None}), ASKING, "code")
    assert "code_verifier" not in sent(exchange)


def test_basic_authentication_goes_with_the_exchange() -> None:
    exchange = code_request(request(client_auth="basic"), ASKING, "code")
    wire = BUILDER.build(exchange, now=NOW)
    assert wire.http.headers["authorization"].startswith("Basic ")
    assert "client_secret" not in sent(exchange)


def test_a_device_code_is_asked_for_where_the_provider_gives_them() -> None:
    asked = device_request(request("read", client_auth="none"), now=NOW)
    wire = BUILDER.build(replace(asked, token_url=None), now=NOW)
    assert str(wire.http.url) == "https://acme.example/device"
    assert sent(asked) == {"client_id": "client", "scope": "read"}


@pytest.mark.parametrize(
    ("extra", "uri", "interval_s"),
    [
        ({"verification_uri": "https://acme.example/d", "interval": "7"}, "https://acme.example/d", 7.0),
        ({"verification_url": "https://google.example/d"}, "https://google.example/d", 5.0),
        ({"verification_uri": "https://acme.example/d", "interval": "soon"}, "https://acme.example/d", 5.0),
        ({"verification_uri": "https://acme.example/d", "interval": "-1"}, "https://acme.example/d", 5.0),
        ({"verification_uri": "https://acme.example/d", "interval": "1e9"}, "https://acme.example/d", 5.0),
    ],
)
def test_the_answer_to_a_device_request_is_read(extra: dict[str, str], uri: str, interval_s: float) -> None:
    token = TokenResponse(Secret("device-code"), expires_in_s=600, extra={"user_code": "ABCD", **extra})
    device = read_device_code(Answer(token=token), default_lifetime_s=300)
    assert device is not None
    assert device.verification_uri == uri
    assert device.interval_s == interval_s
    assert device.lifetime_s == 600
    exchange = device_token_request(request(client_auth="none"), device)
    assert sent(exchange) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "device-code",
        "client_id": "client",
    }


@pytest.mark.parametrize("extra", [{}, {"user_code": "ABCD"}, {"verification_uri": "https://acme.example/d"}])
def test_an_answer_without_a_code_or_a_page_is_none(extra: dict[str, str]) -> None:
    assert (
        read_device_code(Answer(token=TokenResponse(Secret("c"), extra=extra)), default_lifetime_s=1) is None
    )
    assert read_device_code(Answer(error="invalid_client"), default_lifetime_s=1) is None


def test_what_is_exchanged_stands_in_no_repr() -> None:
    assert "the verifier" not in repr(code_request(request(), ASKING, "the code"))
    assert "the code" not in repr(code_request(request(), ASKING, "the code"))
