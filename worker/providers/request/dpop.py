"""Proof of possession at the token endpoint (DPoP, RFC 9449).

The key is the account's own: its refresh token (of a public client) and its access tokens are bound to it, so whoever
uses them needs it too. A server may want a nonce of its own in each proof (section 8); it is remembered for all of
its accounts.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import httpx
from msgspec import Struct

from models.answer import Fault
from models.providers.assertion import SigningAlgorithm
from models.providers.dpop import KEY_FIELD, NOT_OF_THE_GRANT
from models.refresh_request import RefreshRequest
from models.token import Secret
from worker.providers.request.draft import InvalidRequest
from worker.providers.wire import WireResponse

if TYPE_CHECKING:
    from worker.providers.request.jose import SigningKey

HEADER: Final = "dpop"
NONCE_HEADER: Final = "dpop-nonce"
#: The error by which a server asks for its nonce, before it looks at the grant (RFC 9449 section 8).
USE_NONCE: Final = "use_dpop_nonce"

_FIELD: Final = f"custom_fields.{KEY_FIELD}"
#: RFC 9449 section 8.1 names the characters. The length is ours: a header that is sent back to its server.
_NONCE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1024}")
#: SHA-256, base64url (RFC 9449 section 6.1); what else stands there binds to no key that could be compared.
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")
#: So many servers' nonces are remembered.
_SERVERS: Final = 1024
#: RFC 9449 section 4.2: 96 bits and more.
_ID_BYTES: Final = 16
#: A signed JWT has a header, a payload and a signature (RFC 7519 section 3); an encrypted one tells nothing.
_JWT_PARTS: Final = 3
#: The members that make a public key (RFC 7638 section 3.2); nothing else of a JWK is anybody's business.
_PUBLIC: Final = {"EC": ("kty", "crv", "x", "y"), "RSA": ("kty", "n", "e"), "OKP": ("kty", "crv", "x")}


class NoProof(InvalidRequest):
    """The account's key is missing, or unfit."""

    fault = Fault.NO_PROOF


class WrongKey(InvalidRequest):
    """The account's key is not the one that its access token is bound to."""

    fault = Fault.WRONG_KEY


class Proof(Struct, frozen=True):
    """What one request proves possession by."""

    #: The JWT, for the header `DPoP`.
    text: str
    #: Where the request goes: scheme, host and port.
    origin: str
    #: The server's nonce in it, None where none is known.
    nonce: str | None
    #: The key's thumbprint (RFC 7638), which is no secret.
    thumbprint: str


class Nonces:
    """The newest nonce of each server, by its origin (RFC 9449 section 8.2)."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, str] = OrderedDict()

    def of(self, origin: str) -> str | None:
        """Return a server's nonce, None where it gave none."""
        return self._newest.get(origin)

    def heard(self, origin: str, response: WireResponse) -> None:
        """Note the nonce that an answer brings, a success or an error: the next request shall hold it."""
        nonce = response.headers.get(NONCE_HEADER)
        if nonce is None or not _NONCE.fullmatch(nonce):
            return
        self._newest[origin] = nonce
        self._newest.move_to_end(origin)
        if len(self._newest) > _SERVERS:
            self._newest.popitem(last=False)


class _Signer(Struct, frozen=True):
    key: SigningKey
    header: dict[str, object]
    thumbprint: str


def prove(
    request: RefreshRequest, method: str, url: httpx.URL, *, nonces: Nonces, now: float
) -> Proof | None:
    """Return the proof for one request (RFC 9449 section 4.2), None where the provider wants none.

    Args:
        request: the account, with its key.
        method: the HTTP method.
        url: where the request goes.
        nonces: what servers gave.
        now: epoch seconds.

    Raises:
        NoProof: the account has no key, or it does not fit the algorithm.
    """
    algorithm = request.provider.dpop
    if algorithm is None:
        return None
    signer = _signer_of(request, algorithm)
    origin = _origin(url)
    nonce = nonces.of(origin)
    claims: dict[str, object] = {
        "jti": secrets.token_urlsafe(_ID_BYTES),
        "htm": method,
        "htu": str(url).partition("#")[0].partition("?")[0],
        "iat": int(now),
    }
    if nonce is not None:
        claims["nonce"] = nonce
    return Proof(_signed(signer, claims, algorithm), origin, nonce, signer.thumbprint)


def thumbprint(request: RefreshRequest) -> str | None:
    """Return the thumbprint of the account's key (RFC 7638), None where the provider wants no proofs.

    Raises:
        NoProof: the account has no key, or it does not fit the algorithm.
    """
    algorithm = request.provider.dpop
    if algorithm is None:
        return None
    signer = _signer_of(request, algorithm)
    _signed(signer, {}, algorithm)
    return signer.thumbprint


def check_key(request: RefreshRequest) -> None:
    """Raise unless the account's key is the one that its access token is bound to, where the token is a JWT that says so.

    The refresh token of a public client is bound to the same key (RFC 9449 section 5), and some servers end the grant
    when it comes with another one. A request without an access token, such as the exchange of a code, is not checked.

    Raises:
        WrongKey: it is another key.
        NoProof: the account has no key, or it does not fit the algorithm.
    """
    algorithm = request.provider.dpop
    if algorithm is None or request.provider.dpop_key_may_change or not request.access_token:
        return
    theirs = bound_to(request.access_token)
    if theirs is None:
        return
    mine = _signer_of(request, algorithm).thumbprint
    if mine != theirs:
        raise WrongKey(
            f"{_FIELD}: {NOT_OF_THE_GRANT}: its thumbprint is {mine}, and the access token is bound to {theirs} (cnf.jkt). Give "
            "the key that the grant was made with, or tokens that were issued for this one; `dpop_key_may_change` lets a "
            "client with a secret change its key"
        )


def bound_to(access_token: Secret) -> str | None:
    """Return the thumbprint of the key that an access token is bound to (RFC 9449 section 6.1), None where unknown.

    The signature is not checked: who could forge the token could as well replace it.
    """
    parts = access_token.reveal().split(".")
    if len(parts) != _JWT_PARTS:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    confirmation = claims.get("cnf") if isinstance(claims, dict) else None
    jkt = confirmation.get("jkt") if isinstance(confirmation, dict) else None
    return jkt if isinstance(jkt, str) and _THUMBPRINT.fullmatch(jkt) else None


def _signed(signer: _Signer, claims: dict[str, object], algorithm: SigningAlgorithm) -> str:
    from worker.providers.request.jose import UNFIT_KEY, encode

    try:
        return encode(signer.header, claims, signer.key, algorithm)
    except UNFIT_KEY:
        raise NoProof(f"{_FIELD}: a key of another kind than {algorithm} wants") from None


def _signer_of(request: RefreshRequest, algorithm: SigningAlgorithm) -> _Signer:
    key = request.custom_fields.get(KEY_FIELD)
    if not key:
        raise NoProof(f"{_FIELD}: the account has none, and this provider needs one")
    try:
        return _signer(key, algorithm)
    except InvalidRequest as error:
        raise NoProof(str(error)) from None


@lru_cache(maxsize=256)
def _signer(secret: Secret, algorithm: SigningAlgorithm) -> _Signer:
    from worker.providers.request.jose import signing_key

    key = signing_key(secret, algorithm, _FIELD)
    public = key.as_dict(private=False)
    jwk = {name: public[name] for name in _PUBLIC[str(public["kty"])]}
    return _Signer(key, {"typ": "dpop+jwt", "alg": algorithm.value, "jwk": jwk}, key.thumbprint())


def _origin(url: httpx.URL) -> str:
    port = "" if url.port is None else f":{url.port}"
    return f"{url.scheme}://{url.raw_host.decode('ascii')}{port}"
