"""What a refresh writes into the database, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from msgspec import Struct

from models.event import Event
from models.tables.account import Account
from models.tables.attempt import AttemptEntry


class Postponement(Struct, frozen=True):
    """When an account that had to wait is looked at again (epoch seconds), and what it waits for."""

    id: str
    generation: int
    plan_at: float
    reason: str
    #: The gate that it waits for; None where it waits for the provider's rate.
    held_by: str | None = None


class Completion(Struct, frozen=True, dict=True):
    """How one attempt ended: the row as it shall be, and the entry of its history."""

    account: Account
    attempt: AttemptEntry
    #: A token set arrived: it is stored if the generation has not moved, whatever else has.
    success: bool
    #: Seals the token set as a whole.
    seal_answer: Callable[[], str] | None = None
    #: Events for webhooks, if the row takes it.
    events: tuple[Event, ...] = ()

    @cached_property
    def sealed_answer(self) -> str | None:
        """The token set as one sealed text, to be kept or parked. Made only where that is needed."""
        return None if self.seal_answer is None else self.seal_answer()


class Stored(Struct, frozen=True):
    """What became of one completion."""

    #: The row took it. False: another process was first.
    stored: bool
    #: The account was edited while the call was under way: its due time must be computed anew.
    edited: bool = False
