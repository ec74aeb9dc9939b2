"""Keys that sign, and what they sign, through joserfc: imported where something is signed, and by workers at their start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from models.providers.assertion import SigningAlgorithm
from models.token import Secret
from worker.providers.request.draft import InvalidRequest

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


def encode(
    header: Mapping[str, Any], claims: Mapping[str, Any], key: SigningKey, algorithm: SigningAlgorithm
) -> str:
    """Return a signed JWT.

    Raises:
        UNFIT_KEY: the key can't sign this.
    """
    return jwt.encode(dict(header), dict(claims), key, algorithms=[algorithm.value])


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
