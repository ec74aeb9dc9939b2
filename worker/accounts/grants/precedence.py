"""Which of two grants is the newer one: the given one, or the latest that the audit trail has. Pure.

A grant names no time of its own, and a process that stores it can open nothing. So each entry of the audit trail keeps when its
owner consented, and the fingerprints of the tokens that were given: the stored ones are others after a refresh.
"""

from __future__ import annotations

from typing import Any, Final

from models.publication import publication
from models.tables.account import Account, Status
from worker.accounts.entry import Problem, RowRefused
from worker.accounts.grants.entry import Grant, GrantOutcome
from worker.accounts.grants.stored import StoredGrant
from worker.db.intake.grants import LastGrant

#: Two processes know the database's clock no better: consents that are no further apart have no order.
CLOCKS_DIFFER_S: Final = 0.01


class Superseded(RowRefused):
    """A grant whose owner consented again meanwhile, and the newer grant is stored."""

    def __init__(self, given: float, stored: float) -> None:
        reason = (
            f"is older than the stored one, to which the account's owner consented {stored - given:.1f} s later: "
            "the newer one stays"
        )
        super().__init__([Problem("grant", reason)])


def is_repeated(grant: Grant, account: Account, last: LastGrant) -> bool:
    """Return whether a grant was stored already, and the account's tokens have been refreshed since.

    To store it again would put a spent refresh token back, or an access token of before. Where the provider has refused the
    stored refresh token, there is nothing to lose.
    """
    if not grant.may_be_repeated or account.status == Status.REAUTHORIZE:
        return False
    if last.generation > account.generation:  # the row was read before that grant was stored
        return False
    refresh_fp, access_fp = grant.fingerprints
    if (refresh_fp or access_fp) is None or refresh_fp != last.refresh_fp:
        return False
    if account.source_fp not in {last.source_fp, refresh_fp or access_fp}:  # a row has brought others since
        return False
    if refresh_fp is not None and refresh_fp != account.refresh_fp:
        return True
    return access_fp is not None and access_fp == last.access_fp and account.generation > last.generation


def answered(account: Account, last: LastGrant, *, now: float) -> StoredGrant:
    """Return what a repeated grant is answered with: what became of it, and the account as it is."""
    return StoredGrant(
        account, GrantOutcome(last.outcome), publication(account, None, now=now), repeated=True
    )


def check_order(grant: Grant, last: LastGrant | None) -> None:
    """Refuse a grant that is older than the latest one.

    Raises:
        Superseded: it is.
    """
    given, stored = grant.consented_at, None if last is None else last.consented_at
    if given is not None and stored is not None and given < stored - CLOCKS_DIFFER_S:
        raise Superseded(given, stored)


def detail_of(grant: Grant, outcome: GrantOutcome, account: Account, *, now: float) -> dict[str, Any]:
    """Return what the audit trail keeps of a grant, beside who stored it; `account`: as it shall be."""
    refresh_fp, access_fp = grant.fingerprints
    known = {"refresh_fp": refresh_fp, "access_fp": access_fp, "source_fp": account.source_fp}
    return {
        "outcome": outcome.value,
        "generation": account.generation,
        "consented_at": round(now if grant.consented_at is None else min(grant.consented_at, now), 3),
    } | {name: value for name, value in known.items() if value is not None}
