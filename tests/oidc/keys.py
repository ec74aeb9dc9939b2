"""Key pairs of the clients that sign their assertions."""

from __future__ import annotations

from functools import cache
from typing import Any

from joserfc.jwk import ECKey, RSAKey

from models.assertion import SigningAlgorithm


def new_key(algorithm: SigningAlgorithm) -> RSAKey | ECKey:
    """Make a key that an algorithm can sign with."""
    return ECKey.generate_key("P-256") if algorithm.value.startswith("ES") else RSAKey.generate_key(2048)


#: The one key of this test run for an algorithm.
_key_of = cache(new_key)


def pem_of(key: RSAKey | ECKey) -> str:
    """Give a private key as a custom field holds it."""
    return key.as_pem(private=True).decode()


def private_pem(algorithm: SigningAlgorithm) -> str:
    """Give the private key that a client is registered with."""
    return pem_of(_key_of(algorithm))


def public_set(algorithm: SigningAlgorithm) -> dict[str, Any]:
    """Give the public key as a client is registered with it (RFC 7591 section 2, `jwks`)."""
    return {"keys": [{**_key_of(algorithm).as_dict(private=False), "alg": algorithm.value, "use": "sig"}]}
