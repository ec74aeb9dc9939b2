"""What the httpx and requests faces share: the header, and which answers mean that the token was refused."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Final

from refreshd_reader.contract import Token

HEADER: Final = "Authorization"

#: RFC 6750 section 3.1: `invalid_token` comes with 401.
REJECTED_BY_DEFAULT: Final = (401,)

#: How long a refused request waits for a newer token, seconds: a provider's call and the publishing after it
#: take well below this, and a person waits no longer.
WAIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How a token is attached, when a response is taken as a refusal of it, and what then.

    Attributes:
        scheme: written in place of the token's own type.
        rejected_statuses: HTTP statuses that refuse a token.
        wait_s: how long a refused request may wait for a newer token.
        min_lifetime_s: how long a token must still last when a request starts.
    """

    scheme: str | None
    rejected_statuses: frozenset[int]
    wait_s: float
    min_lifetime_s: float

    def attach(self, headers: MutableMapping[str, str], token: Token) -> None:
        """Put the token on a request."""
        headers[HEADER] = self._header(token)

    def refused(self, status: int, sent_headers: Mapping[str, str], token: Token) -> bool:
        """Whether a response refuses this token.

        It does not if the request behind it went out without the token: after a redirect to another host both
        libraries take the header off.
        """
        return status in self.rejected_statuses and sent_headers.get(HEADER) == self._header(token)

    def _header(self, token: Token) -> str:
        """Give the header's value (RFC 6750 section 2.1).

        `bearer` is written `Bearer`: case means nothing here (RFC 9110 section 11.1), and to many an API it does.
        """
        scheme = self.scheme or token.token_type
        return f"{'Bearer' if scheme.lower() == 'bearer' else scheme} {token.access_token}"
