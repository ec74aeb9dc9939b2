"""Values that a plan finds and claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

#: Sorts tokens of no known end behind every other.
NO_END: Final = 9e15


#: The columns that make a `DueAccount`.
CLAIMED: Final = "id, generation, provider, refresh_method, expires_at, failures, token_url"


class DueAccount(Struct, frozen=True):
    """An account that the planner has claimed."""

    id: str
    generation: int
    provider: str
    refresh_method: str
    expires_at: float | None
    #: Failures in a row that are its own.
    failures: int = 0
    #: Its token URL is its own, so that its host may be, too.
    has_own_url: bool = False

    @property
    def need(self) -> tuple[bool, float]:
        """Sort key: soonest to end first, no known end last; accounts that fail by themselves behind both."""
        return self.failures > 0, NO_END if self.expires_at is None else self.expires_at


class Outlook(Struct, frozen=True):
    """What a plan reads first."""

    #: The note of the plan before.
    note: str | None
    now: float
    #: Some account is due.
    due: bool


class Claim(Struct, frozen=True):
    """What one claim found."""

    #: In the order of need.
    accounts: list[DueAccount]
    #: Due accounts that it looked at: these, and those that are paused.
    seen: int


def due_account(row: Sequence[Any]) -> DueAccount:
    """Return the account of a row of a claim."""
    account_id, generation, provider, method, expires_at, failures, token_url, *_ = row
    return DueAccount(
        account_id, generation, provider, method, expires_at, int(failures), token_url is not None
    )
