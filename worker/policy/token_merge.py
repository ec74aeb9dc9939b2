"""Merge an answer with the stored token set: what the provider left out is kept.

Pure. RFC 6749 section 6: the server MAY issue a new refresh token, and where it does the client MUST discard
the old one; an omitted `scope` means the scope is what it was (section 5.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

from models.token import Secret, TokenResponse, TokenSet
from worker.policy.due import expiry, refresh_token_expiry

_BEARER: Final = "Bearer"


class StoredToken(Struct, frozen=True, kw_only=True):
    """What the account holds before the refresh."""

    refresh_token: Secret | None
    token_type: str = _BEARER
    scope: str | None = None
    refresh_token_expires_at: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


def merge(
    response: TokenResponse,
    held: StoredToken,
    *,
    issued_at: float,
    default_lifetime_s: float | None = None,
    never_expires: bool = False,
    refresh_token_lifetime_s: float | None = None,
) -> TokenSet:
    """Return the token set to store: the response, completed by the stored token.

    Args:
        response: what the provider answered.
        held: what the account has.
        issued_at: when the request was sent, epoch seconds: the earliest moment the lifetime can have begun.
        default_lifetime_s: the provider's documented access-token life, where a response names none.
        never_expires: the provider's access tokens have no end, whatever it says.
        refresh_token_lifetime_s: the provider's documented refresh-token life.
    """
    return TokenSet(
        access_token=response.access_token,
        refresh_token=response.refresh_token or held.refresh_token,
        token_type=response.token_type or held.token_type or _BEARER,
        scope=response.scope if response.scope is not None else held.scope,
        issued_at=issued_at,
        expires_at=None
        if never_expires
        else expiry(response, issued_at=issued_at, default_lifetime_s=default_lifetime_s),
        refresh_token_expires_at=refresh_token_expiry(
            response,
            issued_at=issued_at,
            lifetime_s=refresh_token_lifetime_s,
            kept=held.refresh_token_expires_at,
        ),
        extra={**held.extra, **response.extra},
    )


def lost_scopes(before: str | None, after: str | None) -> str | None:
    """Return the scopes that a refresh took away, None where it took none (RFC 6749 section 3.3)."""
    if before is None or after is None:
        return None
    kept = set(after.replace(",", " ").split())
    return " ".join(scope for scope in before.replace(",", " ").split() if scope not in kept) or None
