"""DPoP (RFC 9449): what a provider's data says of it, and where an account keeps its key."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator

from models.assertion import SigningAlgorithm

#: The account's custom field that holds the private key, a PEM or a JWK.
KEY_FIELD: Final = "dpop_key"
#: What `token_type` says of an access token that is bound to the key (RFC 9449 section 5).
TOKEN_TYPE: Final = "DPoP"


def _es256_by_default(value: object) -> object:
    """Read `true` as the algorithm that RFC 9449 uses, and every provider takes."""
    if isinstance(value, bool):
        return SigningAlgorithm.ES256 if value else None
    return value


def _with_a_key_pair(algorithm: SigningAlgorithm | None) -> SigningAlgorithm | None:
    if algorithm is not None and algorithm.symmetric:
        raise ValueError(f"dpop: {algorithm} has no key pair (RFC 9449 section 4.2); ES256 is the usual one")
    return algorithm


#: The algorithm that signs proofs; None: no proofs are sent.
ProofAlgorithm = Annotated[
    SigningAlgorithm | None,
    BeforeValidator(_es256_by_default, json_schema_input_type=SigningAlgorithm | bool | None),
    AfterValidator(_with_a_key_pair),
]


def is_bound(token_type: str | None) -> bool:
    """Tell whether a token's type says that it is bound to a key; case means nothing (RFC 6749 section 5.1)."""
    return (token_type or "").casefold() == TOKEN_TYPE.casefold()
