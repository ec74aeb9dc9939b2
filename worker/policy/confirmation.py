"""Decide whether a refusal was a hiccup or the grant is dead, by one more try. Pure.

A single `invalid_grant` amid good answers was seen at healthy grants; the reverse, a dead grant behind a 5xx for hours,
at proxies. The first is asked again where that can cost nothing, the second is reported as what it probably is.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from models.answer import Judgement, Verdict
from models.providers import GrantType, Provider
from models.tables.account import Account, Status
from models.tables.attempt import Trigger
from worker.policy.backoff import Consequence
from worker.policy.reasons.login import PROBABLY_DEAD, TO_BE_CONFIRMED
from worker.policy.reasons.passing import REFUSED_BEHIND_A_FAILURE, SERVER_ERROR

#: Long enough to outlive a server's hiccup or a replica that lags, short beside the time that a person takes to log in.
CONFIRM_AFTER_S: Final = 60.0
#: Another attempt may come sooner (a connector's report); this share of the time has to be over for it to count.
_SOONEST_SHARE: Final = 0.5
#: The second try comes within this share of a provider's replay grace.
_GRACE_SHARE: Final = 0.5

#: Reason -> so many failures in a row make a dead grant probable. Words of a refusal behind the 5xx: about half a
#: minute of backoff; a code alone may be an outage of this account's part of the provider: a quarter of an hour.
_TRIES: Final[dict[str, int]] = {REFUSED_BEHIND_A_FAILURE: 5, SERVER_ERROR: 10}
_PASSING: Final = frozenset({Verdict.RETRY, Verdict.RATE_LIMITED})

#: Grants that send no refresh token, and no password that is locked after some tries.
_FREE_GRANTS: Final = frozenset({GrantType.CLIENT_CREDENTIALS, GrantType.JWT_BEARER, GrantType.ACCESS_TOKEN})


class Refusal(Struct, frozen=True, kw_only=True):
    """A refresh that brought no token: its verdict and what the provider answered."""

    judgement: Judgement
    trigger: str
    #: The answer's error code; None: it had none, or there was no answer.
    error: str | None
    http_status: int | None


def second_try_is_free(provider: Provider) -> bool:
    """Return whether the same refresh token may be sent again without harm to a grant that is alive."""
    if provider.grant is GrantType.REFRESH_TOKEN:
        return provider.rotates is False or provider.replayable
    return provider.grant in _FREE_GRANTS


def reconsidered(
    refused: Refusal, after: Consequence, account: Account, provider: Provider | None, *, now: float
) -> tuple[Consequence, str]:
    """Return the consequence of a refusal and its reason, given the refusals before it.

    Args:
        refused: the refresh, and its verdict.
        after: what follows from the verdict alone.
        account: the row before this refusal is noted.
        provider: None where it is described nowhere.
        now: epoch seconds.
    """
    judgement = refused.judgement
    if provider is not None and judgement.verdict is Verdict.REAUTHORIZE:
        if _asks_again(refused, account, provider, now):
            return _later(after, account, provider, now), TO_BE_CONFIRMED
    elif judgement.verdict in _PASSING and account.reason in {TO_BE_CONFIRMED, PROBABLY_DEAD}:
        return (
            after,
            account.reason,
        )  # the provider is only busy or away: what is open about the grant stays so
    elif _is_probably_dead(refused, after, account):
        return replace(after, status=Status.DEGRADED), PROBABLY_DEAD
    return after, judgement.reason


def _asks_again(refused: Refusal, account: Account, provider: Provider, now: float) -> bool:
    """Return whether one more try comes before the owner is asked to log in."""
    if account.next_refresh_at is None or not account.refresh_enabled or not second_try_is_free(provider):
        return False  # no plan would make the second try, or it would cost something
    if account.status in {Status.REAUTHORIZE, Status.DISABLED}:
        return False
    if account.reason != TO_BE_CONFIRMED:
        return True
    by_hand = refused.trigger == Trigger.FORCED
    return not by_hand and now < account.status_at + _SOONEST_SHARE * _wait_s(provider)


def _later(after: Consequence, account: Account, provider: Provider, now: float) -> Consequence:
    asked_at = account.status_at if account.reason == TO_BE_CONFIRMED else now
    ended = account.expires_at is not None and account.expires_at <= now
    return replace(
        after,
        status=Status.DEGRADED if ended else Status.ACTIVE,
        retry_at=max(asked_at + _wait_s(provider), now),
    )


def _wait_s(provider: Provider) -> float:
    grace_s = provider.replay_grace_s
    if provider.rotates is False or provider.replay_until_used or grace_s is None:
        return CONFIRM_AFTER_S
    return min(CONFIRM_AFTER_S, grace_s * _GRACE_SHARE)


def _is_probably_dead(refused: Refusal, after: Consequence, account: Account) -> bool:
    """Return whether a failure was repeated so often, and without any token left, that it is a refusal.

    A 5xx without an error code (a gateway's page), and no answer at all, are outages however long they last.
    """
    reason = refused.judgement.reason
    if refused.http_status is None or (reason == SERVER_ERROR and refused.error is None):
        return False
    if not after.counts or (account.expires_at is not None and after.status is not Status.DEGRADED):
        return False
    tries = _TRIES.get(reason)
    return tries is not None and account.failures + 1 >= tries
