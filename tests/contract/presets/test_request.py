"""What each preset sends, held against the facts: address, client, parameters, headers, signatures."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest
from joserfc import jws

from models.provider_requirements import check, needed
from models.providers.presets import load_presets
from tests.contract.presets.accounts import CLIENT_ID, CLIENT_SECRET, account_at
from tests.contract.presets.facts import Facts, known
from tests.support.providers.provider_double import NOW, Wire, form, json_body, query

PRESETS = load_presets()
NAMES = sorted(known())
#: What the facts do not name, because it is new each time.
SIGNED = {"client_assertion", "client_assertion_type", "assertion"}


async def sent(name: str, facts: Facts, fields: Mapping[str, str] | None = None) -> httpx.Request:
    wire = Wire(httpx.Response(facts.status, json=facts.answers))
    request = account_at(PRESETS[name], facts, fields)
    assert check(PRESETS[name], request) == []
    answer = await wire.call(request)
    assert answer.token is not None, answer.fault_detail
    return wire.request


@pytest.mark.parametrize("name", NAMES)
async def test_the_request_is_as_the_provider_wants_it(name: str) -> None:
    facts = known()[name]
    request = await sent(name, facts)

    assert request.method == facts.method
    assert address(request, facts) == facts.url
    assert client(request) == wanted_client(facts)
    assert {
        key: value for key, value in params(request, facts).items() if key not in SIGNED
    } == wanted_params(facts)
    for header, value in facts.headers.items():
        assert value in {"*", request.headers[header]}
    assert request.headers.get("content-type") == content_type(facts)


@pytest.mark.parametrize(
    ("name", "number"), [(name, at) for name in NAMES for at in range(len(known()[name].elsewhere))]
)
async def test_an_account_with_other_fields_is_refreshed_elsewhere(name: str, number: int) -> None:
    facts = known()[name]
    other = facts.elsewhere[number]
    request = await sent(name, facts, {**other.fields})
    assert address(request, facts) == other.url


@pytest.mark.parametrize("name", [name for name in NAMES if known()[name].assertion])
async def test_the_client_signs_what_the_provider_asks_for(name: str) -> None:
    """RFC 7523 section 2.2."""
    facts = known()[name]
    request = await sent(name, facts)
    got = params(request, facts)
    assert got["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert facts.assertion.items() <= signed(got["client_assertion"]).items()


@pytest.mark.parametrize("name", [name for name in NAMES if known()[name].grant_assertion])
async def test_the_grant_is_signed_as_the_provider_asks_for(name: str) -> None:
    """RFC 7523 section 2.1."""
    facts = known()[name]
    got = params(await sent(name, facts), facts)
    assert facts.grant_assertion.items() <= signed(got["assertion"]).items()


@pytest.mark.parametrize("name", [name for name in NAMES if known()[name].bearer])
async def test_the_authorization_header_is_signed(name: str) -> None:
    facts = known()[name]
    scheme, _, token = (await sent(name, facts)).headers["authorization"].partition(" ")
    claims = signed(token)
    assert scheme == "Bearer"
    assert facts.bearer.items() <= claims.items()
    assert NOW < claims["exp"] <= NOW + facts.bearer_at_most_s


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_asked_of_an_account_that_the_provider_does_not_use(name: str) -> None:
    """What `accounts add` asks for is what a request can be made of."""
    asked = {field.removeprefix("custom_fields.") for field in needed(PRESETS[name])}
    facts = known()[name]
    fields = min([facts.fields, *(other.fields for other in facts.elsewhere)], key=len)
    own = {"client_id", "client_secret", "refresh_token", "access_token", "scope", "private_key"}
    if PRESETS[name].endpoint is None:
        own |= {"token_url"}  # a server that each operator has at an address of his own
    if PRESETS[name].dpop is not None:
        own |= {"dpop_key"}
    assert asked - own - {"client_certificate", "client_key"} <= set(fields)


# --- what was sent -----------------------------------------------------------------------------------------


def address(request: httpx.Request, facts: Facts) -> str:
    """The URL, without the parameters where they travel in its query."""
    text = str(request.url)
    return text.partition("?")[0] if facts.where == "query" and "?" not in facts.url else text


def client(request: httpx.Request) -> str | None:
    header: str | None = request.headers.get("authorization")
    return None if header is None or header.startswith("Bearer ey") else header


def params(request: httpx.Request, facts: Facts) -> dict[str, Any]:
    if facts.where == "json":
        body = json_body(request)
        assert isinstance(body, dict)
        return body
    if facts.where == "query":
        assert request.content == b""
        return dict(query(request))
    return form(request) if request.content else {}


def signed(token: str) -> dict[str, Any]:
    """The header and the claims of a JWT, in one."""
    read = jws.extract_compact(token.encode())
    claims: dict[str, Any] = json.loads(read.payload)
    return {**read.headers(), **claims}


# --- what was wanted ---------------------------------------------------------------------------------------


def wanted_client(facts: Facts) -> str | None:
    if facts.auth == "basic":  # RFC 6749 section 2.3.1: form-encoded first
        return _basic(f"{quote_plus(CLIENT_ID)}:{quote_plus(CLIENT_SECRET)}")
    if facts.auth == "basic_raw":
        return _basic(f"{CLIENT_ID}:{CLIENT_SECRET}")
    return facts.authorization


def _basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def wanted_params(facts: Facts) -> dict[str, Any]:
    wanted = dict(facts.sends)
    if facts.auth == "body":
        wanted |= {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    elif facts.auth in {"id", "mtls"} or facts.assertion_id:
        wanted |= {"client_id": CLIENT_ID}
    return wanted


def content_type(facts: Facts) -> str | None:
    if facts.method == "GET":
        return None
    return "application/json" if facts.where == "json" else "application/x-www-form-urlencoded"
