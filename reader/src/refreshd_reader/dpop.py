"""Proof that the key of a bound token is at hand (DPoP, RFC 9449), for tokens whose `token_type` is `DPoP`.

    key = ProofKey(Path("acme-1.pem").read_text())
    client = httpx.Client(auth=TokenAuth(reader, "acme-1", dpop_key=key))

The private key is never in Redis: it is the one that the account was imported or authorized with (`dpop_key`). One
`ProofKey` serves any number of clients and threads; it keeps the nonces that servers want in their proofs. Needs the
extra `dpop`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from refreshd_reader.redis.wire import wall_clock

__all__ = ["ProofKey"]

#: By the first letters of the algorithm's name (RFC 7518 section 3.1, RFC 9864).
_KEY_TYPES: Final[dict[str, type[RSAKey | ECKey | OKPKey]]] = {
    "RS": RSAKey,
    "PS": RSAKey,
    "ES": ECKey,
    "Ed": OKPKey,
}
#: RFC 7638 section 3.2: the members that make a public key.
_PUBLIC: Final = ("kty", "crv", "x", "y", "n", "e")
#: RFC 9449 section 8.1.
_NONCE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1024}")
#: The nonces of so many servers are kept; one more clears them.
_SERVERS: Final = 1024
#: RFC 9449 section 4.2: 96 bits and more.
_ID_BYTES: Final = 16


class ProofKey:
    """The key pair that an account's tokens are bound to.

    Args:
        text: the private key, a PEM or a JWK.
        algorithm: the signature algorithm, as in the provider's data (`dpop`).

    Raises:
        ValueError: not a private key for this algorithm; the message does not hold it.
    """

    def __init__(self, text: str, algorithm: str = "ES256") -> None:
        self._algorithm = algorithm
        try:
            material: Any = json.loads(text) if text.lstrip().startswith("{") else text
            self._key = _KEY_TYPES[algorithm[:2]].import_key(material)
            public = self._key.as_dict(private=False)
            self._header: dict[str, Any] = {
                "typ": "dpop+jwt",
                "alg": algorithm,
                "jwk": {name: public[name] for name in _PUBLIC if name in public},
            }
            fits = self._key.is_private and bool(self._signed({}))
        except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
            fits = False
        if not fits:
            raise ValueError(f"not a private key for {algorithm}; expected a PEM or a JWK")
        self._nonces: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"ProofKey(thumbprint={self.thumbprint!r})"

    @property
    def thumbprint(self) -> str:
        """The public key's thumbprint (RFC 7638), as `refreshd history --full` shows it. It is no secret."""
        return self._key.thumbprint()

    def proof(self, method: str, url: str, access_token: str) -> str:
        """Return the value of the header `DPoP` for one request (RFC 9449 sections 4.2 and 7)."""
        digest = hashlib.sha256(access_token.encode()).digest()
        claims = {
            "jti": secrets.token_urlsafe(_ID_BYTES),
            "htm": method,
            "htu": url.partition("#")[0].partition("?")[0],
            "iat": int(wall_clock()),
            "ath": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        }
        nonce = self._nonces.get(_origin(url))
        if nonce is not None:
            claims["nonce"] = nonce
        return self._signed(claims)

    def heard(self, url: str, nonce: str | None) -> bool:
        """Keep the nonce of a response's header `DPoP-Nonce` for the next proof; return whether there is one."""
        if nonce is None or not _NONCE.fullmatch(nonce):
            return False
        if len(self._nonces) >= _SERVERS:
            self._nonces = {}
        self._nonces[_origin(url)] = nonce
        return True

    def _signed(self, claims: dict[str, Any]) -> str:
        return jwt.encode(dict(self._header), claims, self._key, algorithms=[self._algorithm])


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()
