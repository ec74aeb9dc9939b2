"""What storing a grant comes to: it is stored, or why it is not."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from models.event import Event
from models.publication import Publication
from models.tables.account import Account
from worker.accounts.grants.entry import GrantOutcome
from worker.errors import RefreshdError


class Moved(RefreshdError):
    """An account changed again and again while its grant was stored."""


class NeedsWorker(RefreshdError):
    """A grant that is checked with stored secrets: only a worker can."""


class StoredGrant(Struct, frozen=True):
    """A grant that is stored, and what remains to be published."""

    account: Account
    outcome: GrantOutcome
    publication: Publication
    events: tuple[Event, ...] = ()
    #: It was stored before, and the account's tokens have been refreshed since: nothing changed.
    repeated: bool = False

    def as_json(self, *, published: bool) -> dict[str, Any]:
        """Return what became of it, as the API and scripts read it."""
        account = self.account
        there = not self.repeated or account.published_generation >= account.generation
        return {
            "account": account.id,
            "outcome": self.outcome.value,
            "generation": account.generation,
            "status": account.status,
            "expires_at": account.expires_at,
            "next_refresh_at": account.next_refresh_at,
            "published": published and there,
        }


def moved(account_id: str) -> Moved:
    """Return the error of an account that changed each time it was read."""
    return Moved(f"account {account_id} changed each time between being read and being stored: try again")
