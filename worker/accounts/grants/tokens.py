"""What a grant's tokens become at its account: completed by the provider's data, and refused where they would not last."""

from __future__ import annotations

from typing import Final

from models.providers import GrantType, Provider
from models.tables.account import Account, SessionManagement, Status, read_extra
from models.token import TokenSet
from worker.accounts.entry import Problem
from worker.accounts.grants.entry import Grant
from worker.accounts.token_precedence import replaces_alone
from worker.crypto.sealer import request_of
from worker.policy.due import expiry, refresh_token_expiry
from worker.providers.response.publishing import Publishable
from worker.providers.response.reading import as_texts

_BEARER: Final = "Bearer"


def token_set(grant: Grant, account: Account, provider: Provider, *, now: float) -> TokenSet:
    """Return the tokens as they are stored: times completed by the provider's data, what is published beside them chosen."""
    given = grant.tokens
    issued_at, ends = _times(grant, provider, now=now)
    request = request_of(account, provider, lambda _: None, {})
    published = Publishable(request, given.access_token, given.refresh_token).fields(
        grant.response, provider.publish_fields
    )
    has_access = bool(given.access_token)
    if has_access:
        times = issued_at, ends
    else:
        times = (
            (None, None)
            if replaces_alone(account, given.access_token, given.refresh_token)
            else (account.issued_at, account.expires_at)
        )
    return TokenSet(
        access_token=given.access_token,
        refresh_token=given.refresh_token,
        token_type=(given.token_type or _BEARER) if has_access else account.token_type,
        scope=given.scope or account.scope,
        issued_at=times[0],
        expires_at=times[1],
        refresh_token_expires_at=account.refresh_token_expires_at
        if given.refresh_token is None
        else refresh_token_expiry(
            given,
            issued_at=issued_at or ends or now,
            lifetime_s=provider.refresh_token_lifetime_s,
            kept=None,
        ),
        extra={**read_extra(account.extra), **given.extra, **as_texts(published)},
    )


def _times(grant: Grant, provider: Provider, *, now: float) -> tuple[float | None, float | None]:
    """Return when a grant's access token was issued and when it ends, epoch seconds, None where unknown.

    A grant that does not say is a moment old, unless its token has ended already.
    """
    given, issued_at = grant.tokens, grant.issued_at
    if issued_at is None and given.expires_at is not None:
        if given.expires_in_s is not None and given.expires_in_s > 0:
            issued_at = given.expires_at - given.expires_in_s
        elif given.expires_at <= now:
            return None, None if provider.never_expires else given.expires_at
    # A point in time that has not come yet is a clock's fault.
    issued_at = min(now if issued_at is None else issued_at, now)
    ends = expiry(given, issued_at=issued_at, default_lifetime_s=provider.default_lifetime_s)
    return issued_at, None if provider.never_expires else ends


def lacks_refresh_token(account: Account, provider: Provider, *, stays: bool = True) -> Problem | None:
    """Return what is wrong with a grant without a refresh token: the account would end with its access token.

    Args:
        account: as it was before it got the grant.
        provider: its provider from then on.
        stays: the grant is of the client, and of the server, that the stored refresh token is of.
    """
    if provider.grant is not GrantType.REFRESH_TOKEN:
        return None
    planned = account.refresh_enabled and account.session_management != SessionManagement.NONE
    has_one = account.refresh_fp is not None
    if has_one and not stays:
        stored = "the stored one is of another client or server"
    elif not planned or (has_one and account.status != Status.REAUTHORIZE):
        return None
    else:
        stored = "the provider refused the stored one" if has_one else "none is stored"
    return Problem(
        "refresh_token",
        f"is missing, and {stored}: most providers give one for a scope (offline_access) or a parameter "
        "(access_type=offline, prompt=consent) alone",
    )
