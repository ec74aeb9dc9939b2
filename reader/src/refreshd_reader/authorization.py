"""The part that the auths of httpx and requests share: the header, and which responses refuse the token."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from refreshd_reader.contract import Token

if TYPE_CHECKING:
    from refreshd_reader.dpop import ProofKey

HEADER: Final = "Authorization"
PROOF_HEADER: Final = "DPoP"
NONCE_HEADER: Final = "DPoP-Nonce"

#: RFC 9449 sections 7.1 and 9: a 401 that refuses the proof, not the token.
_OF_THE_PROOF: Final = re.compile(
    r"\bDPoP\b.*\berror=\"?(?:use_dpop_nonce|invalid_dpop_proof)\b", re.IGNORECASE
)
_WANTS_NONCE: Final = re.compile(r"\bDPoP\b.*\berror=\"?use_dpop_nonce\b", re.IGNORECASE)
_CHALLENGE: Final = "WWW-Authenticate"

_AS_REGISTERED: Final = {"bearer": "Bearer", "dpop": "DPoP"}
_UNAUTHORIZED: Final = 401

#: RFC 6750 section 3.1: `invalid_token` comes with 401.
REJECTED_BY_DEFAULT: Final = (401,)

#: How long a refused request waits for a newer token, seconds: a provider's call and the publishing after it
#: take well below this, and a person waits no longer.
WAIT_S: Final = 10.0

WRONG_CLIENT: Final = (
    "the wrong kind of httpx client: httpx.Client needs TokenAuth with a Reader, "
    "httpx.AsyncClient needs AsyncTokenAuth with an AsyncReader"
)


@dataclass(frozen=True, slots=True)
class Policy:
    """How a token is attached, which responses refuse it, and how long to wait for the next.

    Attributes:
        scheme: replaces the token's own type.
        rejected_statuses: HTTP statuses that refuse a token.
        wait_s: how long a refused request may wait for a newer token.
        min_lifetime_s: how long a token must still last when a request starts.
        key: the key that tokens of the type `DPoP` are bound to.
    """

    scheme: str | None
    rejected_statuses: frozenset[int]
    wait_s: float
    min_lifetime_s: float
    key: ProofKey | None = None

    def attach(self, headers: MutableMapping[str, str], token: Token, *, method: str, url: str) -> None:
        """Put the token on a request, and the proof beside one that is bound to a key."""
        headers[HEADER] = self._header(token)
        if self.key is not None and token.token_type.lower() == "dpop":
            headers[PROOF_HEADER] = self.key.proof(method, url, token.access_token)
        elif self.key is not None:
            headers.pop(PROOF_HEADER, None)

    def wants_nonce(self, status: int, headers: Mapping[str, str], *, url: str) -> bool:
        """Return whether a response refuses only the proof's nonce, and brings a new one (RFC 9449 section 9).

        The nonce of any other response is kept for the next request.
        """
        if self.key is None:
            return False
        brings_one = self.key.heard(url, headers.get(NONCE_HEADER))
        return (
            brings_one and status == _UNAUTHORIZED and bool(_WANTS_NONCE.search(headers.get(_CHALLENGE, "")))
        )

    def refused(
        self, status: int, headers: Mapping[str, str], sent_headers: Mapping[str, str], token: Token
    ) -> bool:
        """Return whether a response refuses this token.

        It does not if its request was sent without the token: after a redirect to another host both libraries
        remove the header. Nor if the proof was refused: another token would not help.
        """
        return (
            status in self.rejected_statuses
            and sent_headers.get(HEADER) == self._header(token)
            and not _OF_THE_PROOF.search(headers.get(_CHALLENGE, ""))
        )

    def _header(self, token: Token) -> str:
        """Return the header's value (RFC 6750 section 2.1).

        `bearer` is written `Bearer`: the scheme is case-insensitive (RFC 9110 section 11.1), but many APIs compare it exactly.
        """
        scheme = self.scheme or token.token_type
        return f"{_AS_REGISTERED.get(scheme.lower(), scheme)} {token.access_token}"
