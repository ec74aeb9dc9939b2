"""Signed JWTs: client assertions and JWT bearer grants (RFC 7523), through joserfc."""

from __future__ import annotations

import json
import uuid
from functools import lru_cache
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from models.assertion import Assertion, SigningAlgorithm
from models.token import Secret
from worker.providers.draft import InvalidRequest, RequestDraft

SigningKey = OctKey | RSAKey | ECKey | OKPKey
#: What joserfc raises for keys that it can't read or sign with; KeyError: an elliptic curve that JWK has no name for.
UNFIT_KEY: Final = (JoseError, ValueError, TypeError, KeyError, UnsupportedAlgorithm)

#: By the first letters of the algorithm's name.
_KEY_TYPES: Final[dict[str, type[RSAKey | ECKey | OKPKey]]] = {
    "RS": RSAKey,
    "PS": RSAKey,
    "ES": ECKey,
    "Ed": OKPKey,
}


def sign(draft: RequestDraft, assertion: Assertion, default: SigningAlgorithm) -> str:
    """Return the JWT that `assertion` describes, issued now.

    Raises:
        InvalidRequest: a variable has no value, or the key does not fit the algorithm.
    """
    algorithm = assertion.algorithm or default
    key = signing_key(Secret(draft.text(assertion.key_for(algorithm))), algorithm, "assertion key")
    header = {"alg": algorithm.value, **{name: draft.text(text) for name, text in assertion.header.items()}}
    try:
        return jwt.encode(header, _claims(draft, assertion), key, algorithms=[algorithm.value])
    except UNFIT_KEY as error:
        raise InvalidRequest(f"assertion: {type(error).__name__} while signing with {algorithm}") from None


def _claims(draft: RequestDraft, assertion: Assertion) -> dict[str, object]:
    now = int(draft.now)
    claims: dict[str, object] = {"iat": now, "exp": now + int(assertion.lifetime_s)}
    audience = draft.text(assertion.audience) if assertion.audience else draft.url
    if audience:
        claims["aud"] = audience
    if assertion.issuer is not None:
        claims["iss"] = draft.text(assertion.issuer)
    if assertion.subject is not None:
        claims["sub"] = draft.text(assertion.subject)
    if assertion.unique_id:
        claims["jti"] = str(uuid.uuid4())
    claims.update({name: draft.filled(value) for name, value in assertion.claims.items()})
    return claims


@lru_cache(maxsize=256)
def signing_key(secret: Secret, algorithm: SigningAlgorithm, field: str) -> SigningKey:
    """Read a private key; remembered, because reading a PEM costs more than signing with it.

    Args:
        secret: the key, a PEM or a JWK; a text where the algorithm is symmetric.
        algorithm: what it signs with.
        field: where it comes from, for the message.

    Raises:
        InvalidRequest: it is no such key.
    """
    text = secret.reveal()
    try:
        if algorithm.symmetric:
            return OctKey.import_key(text)
        kind = _KEY_TYPES[algorithm.value[:2]]
        material = json.loads(text) if text.lstrip().startswith("{") else text.replace("\\n", "\n")
        key = kind.import_key(material)
        key.as_dict(private=False)  # fails where its curve has no name
    except UNFIT_KEY:
        raise InvalidRequest(f"{field}: no private key for {algorithm} (a PEM or a JWK)") from None
    if not key.is_private:
        raise InvalidRequest(f"{field}: a public key can't sign {algorithm}")
    return key
