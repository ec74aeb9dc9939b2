"""What the local provider's clients see: the token endpoint, and one resource."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final, TypedDict

from aiohttp import web

from worker.clock import wall_clock
from worker.local.demo.provider.faults import FaultKind, FaultSpec
from worker.local.demo.provider.grants import DemoGrant, RequestRefused
from worker.local.demo.provider.state import STATE, ProviderState
from worker.local.demo.provider.token_request import TokenRequest, read_client, read_token_request

oauth_routes = web.RouteTableDef()

_NO_STORE: Final = {"Cache-Control": "no-store"}  # RFC 6749 section 5.1
_CODE: Final = "grant_type=authorization_code"
_GARBAGE: Final = "<!doctype html><title>Oops</title>" + "\N{REPLACEMENT CHARACTER}" * 16


class _Said(TypedDict):
    """What a request to the token endpoint says, unread."""

    query: str
    body: str
    authorization: str | None
    clients: Mapping[str, tuple[str, str]]


@oauth_routes.get("/")
async def about(_: web.Request) -> web.Response:
    """Return what this is, to a curious person."""
    return web.Response(text="A local OAuth 2.0 provider: POST /token, GET /api/me, GET /stats\n")


@oauth_routes.post("/token")
async def token(request: web.Request) -> web.StreamResponse:
    """Exchange a refresh token, or a consent's code, for new tokens."""
    state = request.app[STATE]
    state.requests += 1
    try:
        said = _Said(
            query=request.rel_url.raw_query_string,
            body=await _form(request),
            authorization=request.headers.get("Authorization"),
            clients=state.grants.clients,
        )
        if _CODE in said["body"]:
            params, client_id = read_client(**said)
            grant = state.codes.exchange(params, state.grants, client_id=client_id)
            return web.json_response(_token_response(state, grant, first=True), headers=_NO_STORE)
        asked = read_token_request(**said)
        grant, serial = state.grants.of_refresh_token(asked.refresh_token, client_id=asked.client_id)
        with grant.call():
            return await _refreshed(request, state, grant, serial, asked)
    except RequestRefused as refused:
        state.refused += 1
        headers = dict(_NO_STORE)
        if refused.status == 401 and "Authorization" in request.headers:  # noqa: PLR2004
            headers["WWW-Authenticate"] = 'Basic realm="token"'  # RFC 6749 section 5.2
        return web.json_response(
            {"error": refused.error, "error_description": refused.description},
            status=refused.status,
            headers=headers,
        )


async def _refreshed(
    request: web.Request, state: ProviderState, grant: DemoGrant, serial: int, asked: TokenRequest
) -> web.StreamResponse:
    _check_scope(grant, asked.scope)
    fault = state.faults.draw(client_id=asked.client_id, grant=grant.spec.id)
    # A real provider is slow before and after the moment that counts.
    await asyncio.sleep(state.latency_s / 2)
    if fault is not None and (answer := _fault_before_commit(request, fault)) is not None:
        return answer
    state.grants.refresh(grant, serial, now=wall_clock())
    body = _token_response(state, grant)
    await asyncio.sleep(state.latency_s / 2)
    if fault is not None and (answer := await _fault_after_commit(request, fault)) is not None:
        return answer
    return web.json_response(body, headers=_NO_STORE)


def _token_response(state: ProviderState, grant: DemoGrant, *, first: bool = False) -> dict[str, Any]:
    tokens = state.grants.tokens(grant)
    body: dict[str, Any] = {
        "access_token": tokens.access_token,
        "token_type": "Bearer",
        "scope": grant.spec.scope,
    }
    if grant.spec.rotates or first:
        body["refresh_token"] = tokens.refresh_token
    lifetime_s = grant.spec.lifetime_s
    number: float = int(lifetime_s) if lifetime_s == int(lifetime_s) else lifetime_s
    if grant.spec.expires_in_as != "absent":
        body["expires_in"] = number if grant.spec.expires_in_as == "number" else str(number)
    return body


def _check_scope(grant: DemoGrant, scope: str | None) -> None:
    if scope is not None and not set(scope.split()) <= set(grant.spec.scope.split()):
        raise RequestRefused("invalid_scope", f"more than was granted: {grant.spec.scope}")


def _fault_before_commit(request: web.Request, fault: FaultSpec) -> web.StreamResponse | None:
    match fault.kind:
        case FaultKind.UNAVAILABLE:
            return web.Response(status=503, text="try again\n")
        case FaultKind.RATE_LIMITED:
            return web.json_response(
                {"error": "too_many_requests"}, status=429, headers={"Retry-After": str(fault.retry_after_s)}
            )
        case FaultKind.DROP_BEFORE_COMMIT:
            return _cut(request)
        case FaultKind.RESET:
            return _cut(request, reset=True)
        case _:
            return None


async def _fault_after_commit(request: web.Request, fault: FaultSpec) -> web.StreamResponse | None:
    match fault.kind:
        case FaultKind.DROP_AFTER_COMMIT:
            return _cut(request)
        case FaultKind.GARBAGE:
            return web.Response(text=_GARBAGE, content_type="text/html")
        case FaultKind.HANG:
            await asyncio.sleep(fault.delay_s)
            return None
        case _:
            return None


def _cut(request: web.Request, *, reset: bool = False) -> web.StreamResponse:
    """End the connection; the response that is returned is never sent."""
    if request.transport is not None:
        if reset and (connection := request.transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response(status=500)


async def _form(request: web.Request) -> str:
    body = await request.read()
    if not body:
        return ""
    if request.content_type != "application/x-www-form-urlencoded":
        raise RequestRefused("invalid_request", f"a form is needed, this is {request.content_type}")
    try:
        return body.decode("ascii")
    except UnicodeDecodeError:
        raise RequestRefused("invalid_request", "the form is not URL-encoded") from None


@oauth_routes.get("/api/me")
async def me(request: web.Request) -> web.Response:
    """Return whose access token this is."""
    try:
        grant = _bearer_of(request)
    except RequestRefused as refused:
        return _challenge(refused)
    return web.json_response({"account": grant.spec.id, "scope": grant.spec.scope, "serial": grant.serial})


def _bearer_of(request: web.Request) -> DemoGrant:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise RequestRefused("", "no access token", status=401)
    grant = request.app[STATE].grants.of_access_token(value.strip(), now=wall_clock())
    if not set(request.query.get("scope", "").split()) <= set(grant.spec.scope.split()):
        raise RequestRefused("insufficient_scope", f"granted is: {grant.spec.scope}", status=403)
    return grant


def _challenge(refused: RequestRefused) -> web.Response:
    """Answer as RFC 6750 section 3 says: no error code where no token was sent."""
    said = f', error="{refused.error}", error_description="{refused.description}"' if refused.error else ""
    return web.Response(
        status=refused.status,
        text=json.dumps({"error": refused.error or "unauthorized", "error_description": refused.description}),
        content_type="application/json",
        headers={"WWW-Authenticate": f'Bearer realm="api"{said}'},
    )
