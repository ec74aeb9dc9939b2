"""What follows from a verdict: when to try again, what the account is meanwhile, whose failure it was.

Pure. DESIGN section 3 has the table; exponential backoff with jitter after Brooker, "Exponential Backoff And
Jitter" (AWS Architecture Blog, 2015): half of the delay is certain, half is chance.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from models.answer import Judgement, Verdict
from models.tables.account import Status

#: The first pause after a failure: long enough to outlive a hiccup, short enough for 20-second tokens.
RETRY_BASE_S: Final = 1.0
#: A configuration seldom mends itself: this is the first pause, and later ones grow up to the setting's cap.
MISCONFIGURED_BASE_S: Final = 300.0
#: The pause after a 429 without Retry-After.
RATE_LIMITED_DEFAULT_S: Final = 30.0
#: The longest pause that a header can ask for.
RETRY_AFTER_MAX_S: Final = 86400.0
#: 2 ** this is beyond every cap; a larger exponent would overflow a float after a thousand failures.
_EXPONENT_MAX: Final = 30


class Consequence(Struct, frozen=True):
    """What an account becomes after a refresh that brought no token."""

    status: Status
    #: Epoch seconds; None: no further try until something changes.
    retry_at: float | None
    #: The failure is the account's own and lengthens its next pause.
    counts: bool


def consequence(
    judgement: Judgement,
    *,
    failures: int,
    has_token: bool,
    expires_at: float | None,
    jitter: float,
    now: float,
    max_s: float,
) -> Consequence:
    """Return what follows from a failed refresh.

    Args:
        judgement: the verdict, and how long the provider asks to be left alone.
        failures: failures in a row before this one that count against the account.
        has_token: an access token is stored; without one, the first failure is a lack that its owner has to know.
        expires_at: end of the stored access token, epoch seconds, None where unknown.
        jitter: a fraction in [0, 1), drawn for this failure.
        now: epoch seconds.
        max_s: the longest pause, seconds (REFRESHD_BACKOFF_MAX_S).
    """
    left_s = None if expires_at is None else expires_at - now
    alive = Status.ACTIVE if has_token and (left_s is None or left_s > 0) else Status.DEGRADED
    match judgement.verdict:
        case Verdict.REAUTHORIZE:
            return Consequence(Status.REAUTHORIZE, None, counts=False)
        case Verdict.MISCONFIGURED:
            return Consequence(
                Status.MISCONFIGURED,
                now + _pause_s(MISCONFIGURED_BASE_S, failures, jitter, max_s),
                counts=True,
            )
        case Verdict.RATE_LIMITED:
            asked_s = (
                judgement.retry_after_s if judgement.retry_after_s is not None else RATE_LIMITED_DEFAULT_S
            )
            pause_s = min(max(asked_s, RETRY_BASE_S), RETRY_AFTER_MAX_S)
            return Consequence(alive, now + pause_s * (1 + jitter / 10), counts=False)
        case _:
            pause_s = _pause_s(RETRY_BASE_S, failures, jitter, max_s)
            if left_s is not None and left_s > 0:
                # While the token lives there is time for one more try before it ends.
                pause_s = min(pause_s, max(left_s / 2, RETRY_BASE_S))
            pause_s = max(pause_s, min(judgement.retry_after_s or 0.0, RETRY_AFTER_MAX_S))
            return Consequence(alive, now + pause_s, counts=True)


def _pause_s(base_s: float, failures: int, jitter: float, max_s: float) -> float:
    whole_s = min(base_s * 2.0 ** min(failures, _EXPONENT_MAX), max(max_s, base_s))
    return whole_s * (0.5 + jitter / 2)
