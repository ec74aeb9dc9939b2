"""What each preset sends, held against the facts: address, client, parameters, headers, signatures."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

import httpx
from joserfc import jws

from models.provider_requirements import check
from models.providers import Provider
from tests.contract.presets.accounts import CLIENT_ID, CLIENT_SECRET, account_at
from tests.contract.presets.facts import Facts
from tests.contract.presets.mismatches import Mismatches
from tests.support.providers.provider_double import NOW, Wire, form, json_body, query

#: What the facts do not name, because it is new each time.
SIGNED = {"client_assertion", "client_assertion_type", "assertion"}
#: RFC 7523 section 2.2.
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def check_request(preset: Provider, facts: Facts, mismatches: Mismatches) -> None:
    """The request is as the provider wants it, and what is signed in it says what the provider asks for."""
    request = await _sent(preset, facts)
    got = params(request, facts)
    mismatches.expect("method", request.method, facts.method)
    mismatches.expect("address", address(request, facts), facts.url)
    mismatches.expect("client", client(request), wanted_client(facts))
    unsigned = {key: value for key, value in got.items() if key not in SIGNED}
    mismatches.expect("parameters", unsigned, wanted_params(facts))
    for header, value in facts.headers.items():
        sent = request.headers.get(header)
        mismatches.expect(f"header {header}", "*" if value == "*" and sent is not None else sent, value)
    mismatches.expect("content type", request.headers.get("content-type"), content_type(facts))
    _check_signatures(request, got, facts, mismatches)


async def check_elsewhere(preset: Provider, facts: Facts, mismatches: Mismatches) -> None:
    """An account with other custom fields is refreshed at another address."""
    for other in facts.elsewhere:
        request = await _sent(preset, facts, {**other.fields})
        mismatches.expect(f"address with {other.fields}", address(request, facts), other.url)


def _check_signatures(
    request: httpx.Request, got: dict[str, Any], facts: Facts, mismatches: Mismatches
) -> None:
    """RFC 7523: the client (section 2.2), the grant (2.1), or the Authorization header is a signed JWT."""
    if facts.assertion:
        mismatches.expect("client_assertion_type", got.get("client_assertion_type"), JWT_BEARER)
        _check_claims("client assertion", got["client_assertion"], facts.assertion, mismatches)
    if facts.grant_assertion:
        _check_claims("grant assertion", got["assertion"], facts.grant_assertion, mismatches)
    if facts.bearer:
        scheme, _, token = request.headers["authorization"].partition(" ")
        mismatches.expect("scheme of the Authorization header", scheme, "Bearer")
        claims = _check_claims("Authorization header", token, facts.bearer, mismatches)
        lives_s = claims["exp"] - NOW
        mismatches.require(
            f"the Authorization header lives {lives_s:g} s; expected up to {facts.bearer_at_most_s:g}",
            0 < lives_s <= facts.bearer_at_most_s,
        )


def _check_claims(what: str, token: str, wanted: Mapping[str, str], mismatches: Mismatches) -> dict[str, Any]:
    claims = signed(token)
    for name, value in wanted.items():
        mismatches.expect(f"{what}, {name}", claims.get(name), value)
    return claims


async def _sent(preset: Provider, facts: Facts, fields: Mapping[str, str] | None = None) -> httpx.Request:
    wire = Wire(httpx.Response(facts.status, json=facts.answers))
    request = account_at(preset, facts, fields)
    missing = check(preset, request)
    assert missing == [], missing
    answer = await wire.call(request)
    assert answer.token is not None, answer.fault_detail
    return wire.request


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
