"""Whether a connector's report leads to a refresh. Pure.

A rejected token is replaced at once, and once. An API that answers 403 to every fresh token misses a permission, which no
refresh mends: after a few reports they are ignored, and the history says why. A token that worked for a while before it was
rejected ended early: its report leads to a refresh however many came before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from models.outcome import Outcome, Trigger
from worker.policy.eligibility import Skip
from worker.policy.reasons.skipped import FRESH_TOKENS_REJECTED, REPORTED_TOO_SOON

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.attempt import Attempt

#: Least time between two refreshes of one account that reports asked for.
REPORTED_MIN_INTERVAL_S: Final = 10.0
#: So many generations in a row, each reported and replaced: the API rejects fresh tokens.
FRESH_REJECTED_MAX: Final = 3
#: Reports that are further apart than this are unrelated.
FRESH_REJECTED_WITHIN_S: Final = 3600.0
#: A token that is older when it is reported had worked. Some APIs end theirs after a minute.
WORKED_S: Final = 45.0


def report_refusal(attempts: Sequence[Attempt], *, now: float) -> Skip | None:
    """Return the reason not to refresh for a report of the current generation, None where there is none.

    Args:
        attempts: the account's latest attempts, newest first.
        now: epoch seconds.
    """
    called = [one for one in attempts if one.outcome == Outcome.REFRESHED]
    reported = [
        one for one in attempts if one.trigger == Trigger.REPORTED and one.generation_after is not None
    ]
    if reported and now - reported[0].opened_at < REPORTED_MIN_INTERVAL_S:
        return Skip(Outcome.NOT_DUE, REPORTED_TOO_SOON)
    latest = called[:FRESH_REJECTED_MAX]
    in_vain = len(latest) == FRESH_REJECTED_MAX and all(
        one.trigger == Trigger.REPORTED and now - one.opened_at < FRESH_REJECTED_WITHIN_S for one in latest
    )
    reported_at = [now, *(one.opened_at for one in latest)]
    worked = any(until - one.opened_at >= WORKED_S for until, one in zip(reported_at, latest, strict=False))
    return Skip(Outcome.NOT_DUE, FRESH_TOKENS_REJECTED) if in_vain and not worked else None
