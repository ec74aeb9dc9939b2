"""What a new grant did to its account, and the events that say so."""

from __future__ import annotations

from models.event import Event, EventType
from models.tables.account import Account
from worker.accounts.grants.entry import GrantOutcome
from worker.policy.reasons.done import CONSENT_GIVEN, CREDENTIALS_REPLACED


def outcome_of(account: Account) -> GrantOutcome:
    """Return what a new grant does to an account as it is."""
    known = (account.refresh_fp, account.source_fp, account.issued_at, account.expires_at)
    if all(one is None for one in known):
        return GrantOutcome.CONNECTED
    return GrantOutcome.RECONNECTED if account.is_troubled else GrantOutcome.REPLACED


def connected_event(account: Account, *, now: float) -> Event:
    """Return the event that an account has its first grant."""
    return _event(EventType.CONNECTED, CONSENT_GIVEN, account, account.generation, now)


def events_of(account: Account, outcome: GrantOutcome, *, now: float) -> tuple[Event, ...]:
    """Return what is announced: whoever waits for `recovered` after a failure gets it, as with any other new token."""
    kind = EventType.CONNECTED if outcome is GrantOutcome.CONNECTED else EventType.RECONNECTED
    told = [_event(kind, CONSENT_GIVEN, account, account.generation + 1, now)]
    if account.is_troubled and outcome is not GrantOutcome.CONNECTED:
        told.insert(
            0, _event(EventType.RECOVERED, CREDENTIALS_REPLACED, account, account.generation + 1, now)
        )
    return tuple(told)


def _event(kind: EventType, reason: str, account: Account, generation: int, now: float) -> Event:
    return Event(
        type=kind.value,
        reason=reason,
        at=now,
        account=account.id,
        generation=generation,
        labels=account.labels,
    )
