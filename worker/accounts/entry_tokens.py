"""What an entry says of its tokens: their type and scope, when they were issued, and when they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.providers import Provider
from models.token import Secret, TokenResponse
from worker.accounts.entry import AccountEntry
from worker.policy.due import expiry, refresh_token_expiry

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

BEARER: Final = "Bearer"
_TIMES: Final = frozenset({"issued_at", "expires_in", "expires_at"})


def describe(account: Account, entry: AccountEntry, provider: Provider, *, now: float) -> list[str]:
    """Write what an entry says of the token that stays; returns the names of the fields that changed."""
    wanted: dict[str, object] = {}
    if "token_type" in entry.of_the_token:
        wanted["token_type"] = entry.text("token_type") or BEARER
    if "scope" in entry.of_the_token:
        wanted["scope"] = entry.text("scope")
    if _TIMES & entry.of_the_token.keys():
        issued_at, expires_at = times_of(entry, provider, now=now)
        said, known = _issued_at(entry), account.issued_at
        untold = said is None and "issued_at" not in entry.of_the_token
        # A time that has not come yet was taken for that of the first look.
        if untold or (said is not None and said > now and known is not None):
            issued_at = known
            if "expires_in" in entry.of_the_token and issued_at is not None:
                expires_at = _end(issued_at, entry, provider)
        wanted["issued_at"] = issued_at
        if {"expires_in", "expires_at"} & entry.of_the_token.keys():
            wanted["expires_at"] = expires_at
    changed = [name for name, value in wanted.items() if getattr(account, name) != value]
    for name in changed:
        setattr(account, name, wanted[name])
    return changed


def times_of(entry: AccountEntry, provider: Provider, *, now: float) -> tuple[float | None, float | None]:
    """Return when the entry's access token was issued and when it ends, epoch seconds, None where unknown.

    A point in time that has not come yet is a clock's fault, or of a text without a zone: it counts as now.
    """
    issued_at = _issued_at(entry)
    if issued_at is None:
        return None, None if provider.never_expires else entry.seconds("expires_at")
    issued_at = min(issued_at, now)
    return issued_at, _end(issued_at, entry, provider)


def _issued_at(entry: AccountEntry) -> float | None:
    """Return when the entry's access token was issued, as it says, or as follows from its end and its lifetime."""
    issued_at, lifetime_s, end = (entry.seconds(name) for name in ("issued_at", "expires_in", "expires_at"))
    if issued_at is None and end is not None and lifetime_s is not None and lifetime_s > 0:
        return end - lifetime_s
    return issued_at


def _end(issued_at: float, entry: AccountEntry, provider: Provider) -> float | None:
    if provider.never_expires:
        return None
    said = TokenResponse(
        Secret(""), expires_in_s=entry.seconds("expires_in"), expires_at=entry.seconds("expires_at")
    )
    return expiry(said, issued_at=issued_at, default_lifetime_s=provider.default_lifetime_s)


def refresh_token_end(
    account: Account, entry: AccountEntry, provider: Provider, issued_at: float | None
) -> float | None:
    """Return when the refresh token has its hard end: known after a consent, and where each refresh brings a new one."""
    if not entry.refresh_token:
        return account.refresh_token_expires_at
    if issued_at is None or not (provider.rotates or entry.granted):
        return None
    said = entry.granted or TokenResponse(Secret(""), refresh_token=entry.refresh_token)
    return refresh_token_expiry(
        said, issued_at=issued_at, lifetime_s=provider.refresh_token_lifetime_s, kept=None
    )
