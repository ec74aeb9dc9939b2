"""Key pairs of the clients that sign their assertions."""

from __future__ import annotations

from functools import cache
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey

from models.providers.assertion import SigningAlgorithm

Key = RSAKey | ECKey | OKPKey


def new_key(algorithm: SigningAlgorithm) -> Key:
    """Make a key that an algorithm can sign with."""
    if algorithm is SigningAlgorithm.ED25519:
        return OKPKey.generate_key("Ed25519")
    return ECKey.generate_key("P-256") if algorithm is SigningAlgorithm.ES256 else RSAKey.generate_key(2048)


#: The one key of this test run for an algorithm.
_key_of = cache(new_key)


def pem_of(key: Key) -> str:
    """Return a private key as a custom field holds it."""
    return key.as_pem(private=True).decode()


def private_pem(algorithm: SigningAlgorithm) -> str:
    """Return the private key that a client is registered with."""
    return pem_of(_key_of(algorithm))


def public_set(algorithm: SigningAlgorithm) -> dict[str, Any]:
    """Return the public key as a client is registered with it (RFC 7591 section 2, `jwks`)."""
    return {"keys": [{**_key_of(algorithm).as_dict(private=False), "alg": algorithm.value, "use": "sig"}]}
