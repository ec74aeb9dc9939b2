"""DPoP (RFC 9449): a provider's algorithm, and the field of an account's key."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator

from models.providers.assertion import SigningAlgorithm

#: The account's custom field that holds the private key, a PEM or a JWK.
KEY_FIELD: Final = "dpop_key"
#: Beginning of the error for a key that the access token is not bound to.
NOT_OF_THE_GRANT: Final = "not the key of the grant"
#: `token_type` of an access token that is bound to the key (RFC 9449 section 5).
TOKEN_TYPE: Final = "DPoP"


_CHOICES: Final = {one.value.casefold(): one for one in SigningAlgorithm if not one.symmetric}
_YES: Final = frozenset({"true", "yes", "on", "1"})
_NO: Final = frozenset({"false", "no", "off", "0", ""})


def _algorithm(value: object) -> SigningAlgorithm | None:
    """Read an algorithm that has a key pair; `true` is ES256, which every provider takes that has DPoP."""
    word = ("yes" if value else "no") if isinstance(value, bool) else str(value or "").strip().casefold()
    if word in _YES:
        return SigningAlgorithm.ES256
    if word in _NO:
        return None
    if word not in _CHOICES:
        raise ValueError(
            f"unknown algorithm; expected true (for ES256), false, or one of {', '.join(_CHOICES.values())}"
        )
    return _CHOICES[word]


#: The algorithm that signs proofs; None: no proofs are sent.
ProofAlgorithm = Annotated[
    SigningAlgorithm | None,
    BeforeValidator(_algorithm, json_schema_input_type=Literal[*_CHOICES.values()] | bool | None),
]


def is_bound(token_type: str | None) -> bool:
    """Return whether a token's type says that it is bound to a key; case means nothing (RFC 6749 section 5.1)."""
    return (token_type or "").casefold() == TOKEN_TYPE.casefold()
