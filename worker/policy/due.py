"""Compute when a token is due. Pure: `now` and `jitter` are arguments, the result is a time with a reason.

A due time is computed when a token is stored or the policy is edited, and kept. Later decisions compare times and
never draw again.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from models.account_state import SessionManagement
from models.providers import Provider
from models.token import TokenResponse
from worker.policy.reasons.due import (
    BEFORE_EXPIRY,
    IN_REFRESH_WINDOW,
    ISSUE_TIME_UNKNOWN,
    NO_TOKEN_YET,
    REFRESH_TOKEN_ENDS,
    REFRESH_TOKEN_IDLE,
    SESSION_TIMEOUT,
    SESSION_TIMEOUT_STANDS_IN,
)
from worker.policy.reasons.skipped import REFRESH_DISABLED, SESSION_NONE

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

#: A tenth of the lifetime is early enough for several tries and late enough to waste little of a token.
MARGIN_SHARE: Final = 0.1
#: Below this a slow call (30 s by default) could outlast the token.
MARGIN_MIN_S: Final = 60.0
#: Above this an early refresh only costs provider budget, and kills a live token at some providers.
MARGIN_MAX_S: Final = 600.0
#: A short token keeps half of its life: 20-second tokens are refreshed after 10.
MARGIN_LARGEST_SHARE: Final = 0.5
#: Jitter moves a due time this much of the margin earlier, at most.
JITTER_SHARE_OF_MARGIN: Final = 0.5
#: ... and never more than this much of the lifetime.
JITTER_SHARE_OF_LIFETIME: Final = 0.1
#: In a refresh window jitter moves a due time later by this much of the window, at most.
JITTER_SHARE_OF_WINDOW: Final = 0.25
#: An idle refresh token is used when this much of its idle time has passed.
IDLE_SHARE: Final = 0.8
#: A hard end nearer than this was not moved by the last refresh: another one would not move it either.
HARD_END_MIN_S: Final = 2 * MARGIN_MAX_S
#: No lifetime is longer than ten years: 10^12 seconds means "does not end", and must not overflow a clock.
LIFETIME_MAX_S: Final = 10 * 365 * 86400.0


class SessionPolicy(Struct, frozen=True, kw_only=True):
    """The session policy of an account at its provider. Amounts in seconds."""

    refresh_enabled: bool = True
    session_management: SessionManagement = SessionManagement.AUTO
    session_timeout_s: float = 900.0
    margin_s: float | None = None
    refresh_window_s: float | None = None
    refresh_token_idle_s: float | None = None
    #: Accounts of unknown age are spread over this long, so that an import is no stampede.
    spread_s: float = 0.0


class TokenTimes(Struct, frozen=True, kw_only=True):
    """What is known of the stored token. Epoch seconds, None where unknown."""

    has_access_token: bool = True
    issued_at: float | None = None
    expires_at: float | None = None
    refresh_token_expires_at: float | None = None


class Due(Struct, frozen=True):
    """When to refresh (epoch seconds; None: not planned), and why then."""

    at: float | None
    reason: str


#: A time (epoch seconds) with its reason.
_When = tuple[float, str]


def session_policy(account: Account, provider: Provider, *, spread_s: float = 0.0) -> SessionPolicy:
    """Return the session policy of an account and its provider (with the account's overrides)."""
    return SessionPolicy(
        refresh_enabled=account.refresh_enabled,
        session_management=SessionManagement(account.session_management),
        session_timeout_s=account.session_timeout_s,
        margin_s=provider.margin_s,
        refresh_window_s=provider.refresh_window_s,
        refresh_token_idle_s=provider.refresh_token_idle_s,
        spread_s=spread_s,
    )


def token_times(account: Account) -> TokenTimes:
    """Return what is known of the stored token."""
    return TokenTimes(
        has_access_token=account.access_token_sealed is not None,
        issued_at=account.issued_at,
        expires_at=account.expires_at,
        refresh_token_expires_at=account.refresh_token_expires_at,
    )


def due(policy: SessionPolicy, token: TokenTimes, *, jitter: float, now: float) -> Due:
    """Return when a token is due.

    Args:
        policy: the account's session policy.
        token: the stored token's times.
        jitter: a fraction in [0, 1), drawn once when the token was stored.
        now: epoch seconds; a token issued later than this counts as issued now.
    """
    if not policy.refresh_enabled:
        return Due(None, REFRESH_DISABLED)
    if policy.session_management is SessionManagement.NONE:
        return Due(None, SESSION_NONE)
    session = _due_by_session(policy, token, jitter, now)
    return Due(*min([session, *_due_by_refresh_token(policy, token, jitter, now)], key=itemgetter(0)))


def margin_s(lifetime_s: float, wanted_s: float | None = None) -> float:
    """Return how long before its end a token is refreshed: the wanted margin, else about a tenth of its lifetime."""
    room = lifetime_s * MARGIN_LARGEST_SHARE
    if wanted_s is not None:
        return min(wanted_s, room)
    return min(max(lifetime_s * MARGIN_SHARE, MARGIN_MIN_S), MARGIN_MAX_S, room)


def expiry(
    response: TokenResponse, *, issued_at: float, default_lifetime_s: float | None = None
) -> float | None:
    """Return when a token just received ends (epoch seconds), None where that is unknown.

    `expires_in` of 0 or less says nothing usable (Mailchimp's 0 means never), so the provider's default
    stands in for it, if there is one.
    """
    lifetime_s = _usable(response.expires_in_s)
    if lifetime_s is None and response.expires_at is not None:
        lifetime_s = _usable(response.expires_at - issued_at)
    if lifetime_s is None:
        lifetime_s = _usable(default_lifetime_s)
    return None if lifetime_s is None else issued_at + lifetime_s


def refresh_token_expiry(
    response: TokenResponse, *, issued_at: float, lifetime_s: float | None, kept: float | None
) -> float | None:
    """Return when the refresh token has its hard end (epoch seconds), None where it has none that is known.

    Args:
        response: what the provider answered.
        issued_at: when the request was sent, epoch seconds.
        lifetime_s: how long the provider's refresh tokens live after the consent, however often they are
            replaced, seconds.
        kept: the end known so far; only the provider itself moves it.
    """
    said_s = _usable(response.refresh_token_expires_in_s)
    if said_s is None and response.refresh_token_expires_at is not None:
        said_s = _usable(response.refresh_token_expires_at - issued_at)
    if said_s is not None:
        return issued_at + said_s
    if kept is not None or response.refresh_token is None or lifetime_s is None:
        return kept
    return issued_at + lifetime_s


def _usable(lifetime_s: float | None) -> float | None:
    if lifetime_s is None or not lifetime_s > 0:
        return None
    return min(lifetime_s, LIFETIME_MAX_S)


def _due_by_session(policy: SessionPolicy, token: TokenTimes, jitter: float, now: float) -> _When:
    if not token.has_access_token:
        return now + jitter * policy.spread_s, NO_TOKEN_YET
    issued_at = None if token.issued_at is None else min(token.issued_at, now)
    if policy.session_management is SessionManagement.FIXED:
        if issued_at is None:
            return now + jitter * policy.spread_s, ISSUE_TIME_UNKNOWN
        return issued_at + policy.session_timeout_s, SESSION_TIMEOUT
    if token.expires_at is not None:
        return _before(
            token.expires_at, issued_at if issued_at is not None else now, policy, jitter, BEFORE_EXPIRY
        )
    if issued_at is None:
        return now + jitter * policy.spread_s, ISSUE_TIME_UNKNOWN
    return _before(issued_at + policy.session_timeout_s, issued_at, policy, jitter, SESSION_TIMEOUT_STANDS_IN)


def _before(end: float, start: float, policy: SessionPolicy, jitter: float, reason: str) -> _When:
    lifetime_s = max(end - start, 0.0)
    if policy.refresh_window_s is not None:
        window_s = min(policy.refresh_window_s, lifetime_s)
        return end - window_s * (1 - jitter * JITTER_SHARE_OF_WINDOW), IN_REFRESH_WINDOW
    margin = margin_s(lifetime_s, policy.margin_s)
    spread_s = min(margin * JITTER_SHARE_OF_MARGIN, lifetime_s * JITTER_SHARE_OF_LIFETIME)
    return end - margin - jitter * spread_s, reason


def _due_by_refresh_token(policy: SessionPolicy, token: TokenTimes, jitter: float, now: float) -> list[_When]:
    """Return deadlines of the refresh token: use keeps an idle one alive; one with a hard end is used before it."""
    ends: list[_When] = []
    if policy.refresh_token_idle_s is not None and token.issued_at is not None:
        used_at = min(token.issued_at, now)
        ends.append((used_at + policy.refresh_token_idle_s * IDLE_SHARE, REFRESH_TOKEN_IDLE))
    if token.refresh_token_expires_at is not None:
        start = min(token.issued_at, now) if token.issued_at is not None else now
        left_s = token.refresh_token_expires_at - start
        if left_s > HARD_END_MIN_S:
            margin = margin_s(left_s) * (1 + jitter * JITTER_SHARE_OF_MARGIN)
            ends.append((token.refresh_token_expires_at - margin, REFRESH_TOKEN_ENDS))
    return ends
