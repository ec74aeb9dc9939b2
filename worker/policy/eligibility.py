"""Whether an account may be refreshed now: the check before an attempt is opened. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from models.account_state import SessionManagement, Status
from models.outcome import Outcome, Trigger
from worker.policy.reasons.login import NEEDS_REAUTHORIZATION
from worker.policy.reasons.skipped import (
    ATTEMPT_OPEN,
    GENERATION_MOVED,
    NOT_DUE_YET,
    PAUSED,
    REFRESH_DISABLED,
    SESSION_NONE,
    UNKNOWN_ACCOUNT,
)

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

#: Rounding between the clocks of a plan and a worker: an account this much too early counts as due.
DUE_TOLERANCE_S: Final = 0.5

#: Triggers of a person: they refresh where a plan would not.
_BY_HAND: Final = frozenset({Trigger.FORCED, Trigger.TEST})


class Skip(Struct, frozen=True):
    """Why there is no attempt."""

    outcome: Outcome
    reason: str


def skip_reason(
    account: Account | None, *, seen: int, trigger: Trigger, now: float, paused: bool = False
) -> Skip | None:
    """Return the reason not to refresh, None where there is none.

    Args:
        account: the row, read under the lease; None where it was removed.
        seen: the generation in the message.
        trigger: what asked for the refresh.
        now: epoch seconds.
        paused: the account, its provider or everything is paused.
    """
    if account is None:
        return Skip(Outcome.SUPERSEDED, UNKNOWN_ACCOUNT)
    if account.generation != seen:
        return Skip(Outcome.SUPERSEDED, GENERATION_MOVED)
    if account.claim_attempt is not None and account.claim_until is not None and account.claim_until > now:
        return Skip(Outcome.BUSY, ATTEMPT_OPEN)
    if trigger in _BY_HAND:
        return None
    if not account.refresh_enabled:
        return Skip(Outcome.DISABLED, REFRESH_DISABLED)
    if paused:
        return Skip(Outcome.DISABLED, PAUSED)
    if account.session_management == SessionManagement.NONE:
        return Skip(Outcome.NOT_DUE, SESSION_NONE)
    if account.status == Status.REAUTHORIZE:
        return Skip(Outcome.NOT_DUE, NEEDS_REAUTHORIZATION)
    if trigger is Trigger.PLANNED and not _is_due(account, now):
        return Skip(Outcome.NOT_DUE, NOT_DUE_YET)
    return None


def _is_due(account: Account, now: float) -> bool:
    if account.claim_attempt is not None:
        return True  # interrupted: its refresh token may be spent, which can't wait until the token is due
    return account.next_refresh_at is not None and account.next_refresh_at <= now + DUE_TOLERANCE_S
