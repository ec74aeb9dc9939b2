"""Reading a refresh request: its parameters wherever they travel, and who the client says it is."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_plus

from worker.local.demo.provider.grants import RequestRefused


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A refresh request (RFC 6749 section 6) of a client that proved who it is."""

    client_id: str
    refresh_token: str = field(repr=False)
    scope: str | None


def read_token_request(
    *, query: str, body: str, authorization: str | None, clients: Mapping[str, tuple[str, str]]
) -> TokenRequest:
    """Read and authenticate a request whose parameters are in the query, in the form, or in both.

    Args:
        query: of the URL, still encoded.
        body: a form, still encoded.
        authorization: the header.
        clients: client_id -> (secret, the method that it must use).

    Raises:
        Refused: RFC 6749 section 5.2 says how.
    """
    params, client_id = read_client(query=query, body=body, authorization=authorization, clients=clients)
    grant_type = params.get("grant_type")
    if grant_type is None:
        raise RequestRefused("invalid_request", "grant_type is missing")
    if grant_type != "refresh_token":
        raise RequestRefused("unsupported_grant_type", f"{grant_type!r} is not supported, refresh_token is")
    if "refresh_token" not in params:
        raise RequestRefused("invalid_request", "refresh_token is missing")
    return TokenRequest(client_id, params["refresh_token"], params.get("scope"))


def read_client(
    *, query: str, body: str, authorization: str | None, clients: Mapping[str, tuple[str, str]]
) -> tuple[dict[str, str], str]:
    """Return a request's parameters, and the client that it comes from; arguments as for `read_token_request`.

    Raises:
        Refused: the client did not prove who it is.
    """
    params = _params(query, body)
    return params, _authenticated(params, authorization, clients)


def _params(query: str, body: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True) + parse_qsl(body, keep_blank_values=True)
    params = dict(pairs)
    if len(params) != len(pairs):
        raise RequestRefused(
            "invalid_request", "a parameter is included more than once"
        )  # RFC 6749 section 3.2
    return {name: value for name, value in params.items() if value}


class _Presented(NamedTuple):
    """What a client says it is, and the method of RFC 6749 section 2.3 that it says it by."""

    client_id: str
    secret: str
    method: str


def _authenticated(
    params: Mapping[str, str], authorization: str | None, clients: Mapping[str, tuple[str, str]]
) -> str:
    readings = _presented(params, authorization)
    known = [one for one in readings if one.client_id in clients]
    if not known:
        raise RequestRefused("invalid_client", "unknown client", status=401)
    for one in known:
        secret, method = clients[one.client_id]
        if method == one.method:
            if method != "none" and not hmac.compare_digest(secret.encode(), one.secret.encode()):
                raise RequestRefused("invalid_client", "wrong client secret", status=401)
            return one.client_id
    method = clients[known[0].client_id][1]
    raise RequestRefused(
        "invalid_client", f"this client authenticates by {method}, not by {known[0].method}", status=401
    )


def _presented(params: Mapping[str, str], authorization: str | None) -> list[_Presented]:
    """Return the ways in which the client's words can be read: HTTP Basic has two."""
    if authorization is not None:
        if "client_secret" in params:
            # RFC 6749 section 2.3: not more than one method in a request.
            raise RequestRefused("invalid_request", "the client authenticates twice")
        client_id, secret = _basic(authorization)
        encoded = _Presented(unquote_plus(client_id), unquote_plus(secret), "basic")
        return [encoded, _Presented(client_id, secret, "basic_raw")]
    client_id = params.get("client_id", "")
    if "client_secret" in params:
        return [_Presented(client_id, params["client_secret"], "body")]
    return [_Presented(client_id, "", "none")]


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    try:
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        client_id = colon = secret = ""
    if scheme.lower() != "basic" or not colon:
        raise RequestRefused("invalid_client", "the Authorization header is no HTTP Basic", status=401)
    return client_id, secret
