"""What a signed JWT of a provider holds: client assertions and JWT bearer grants (RFC 7523)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.providers.template import parse

CLIENT_ASSERTION_TYPE: Final = (
    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523 section 2.2
)


class SigningAlgorithm(StrEnum):
    """RFC 7518 section 3.1, and Ed25519 of RFC 9864, which withdraws the name EdDSA."""

    HS256 = "HS256"
    HS384 = "HS384"
    HS512 = "HS512"
    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    ED25519 = "Ed25519"

    @property
    def symmetric(self) -> bool:
        return self.value.startswith("HS")


class Assertion(BaseModel):
    """How a JWT is made: every text is a template; a claim of None is left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: None: HS256 for client_secret_jwt, else RS256.
    algorithm: SigningAlgorithm | None = None
    #: PEM of a private key, a JWK, or the shared secret. None: the account's custom field private_key, or its
    #: client_secret where the algorithm is symmetric.
    key: str | None = None
    issuer: str | None = "${account.client_id}"
    subject: str | None = "${account.client_id}"
    #: None: the URL that the request goes to.
    audience: str | None = None
    lifetime_s: float = Field(300, gt=0, le=365 * 86400)
    #: `jti`, so that an assertion is used once (RFC 7523 section 3, item 7).
    unique_id: bool = True
    claims: Mapping[str, str | int | bool] = Field(default_factory=dict)
    #: JOSE header fields beside `alg` and `typ`: `kid`, `x5t` ...
    header: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _templates_can_be_read(self) -> Assertion:
        for text in self.texts():
            parse(text)
        return self

    def key_for(self, algorithm: SigningAlgorithm) -> str:
        """Return the template of the key."""
        return self.key or ("${account.client_secret}" if algorithm.symmetric else "${custom.private_key}")

    def texts(self) -> list[str]:
        """Return every template but the key's default."""
        singles = [self.key, self.issuer, self.subject, self.audience]
        values = [*singles, *self.claims.values(), *self.header.values()]
        return [text for text in values if isinstance(text, str)]
