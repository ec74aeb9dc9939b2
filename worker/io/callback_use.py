"""Who uses which callback, when it last ran, and which ones no running worker knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Engine, text

from worker.io.callback_offer import Offer, unknown_words
from worker.io.database import reading


@dataclass(frozen=True, slots=True)
class LastRun:
    """The latest run of a callback. `at` is epoch seconds."""

    at: float
    account: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class Use:
    """How many accounts are refreshed by a callback, and one of them."""

    name: str
    accounts: int
    example: str

    @property
    def shown(self) -> str:
        return (
            f"account {self.example}"
            if self.accounts == 1
            else f"{self.accounts:,} accounts ({self.example}, ...)"
        )


@dataclass(frozen=True, slots=True)
class Lacking:
    """A callback that accounts name and no running worker knows."""

    use: Use
    words: str


def uses(engine: Engine) -> list[Use]:
    """Give every callback that accounts name, by name. An index holds these accounts alone.

    Raises:
        DatabaseUnreachable: it can't be looked at.
    """
    statement = text(
        "SELECT callback, count(*), min(id) FROM account WHERE refresh_method = 'callback' AND callback IS NOT NULL "
        "GROUP BY callback ORDER BY callback"
    )
    with reading(engine) as connection:
        return [
            Use(str(name), int(count), str(account)) for name, count, account in connection.execute(statement)
        ]


def last_run(engine: Engine, name: str) -> LastRun | None:
    """Give the latest run of a callback for an account that still names it.

    Raises:
        DatabaseUnreachable: it can't be looked at.
    """
    statement = text(
        """
        SELECT opened_at, account_id, outcome, coalesce(reason, '') FROM attempt
        WHERE account_id IN (SELECT id FROM account WHERE callback = :name AND refresh_method = 'callback')
         AND latency_ms IS NOT NULL AND closed_at IS NOT NULL
        ORDER BY opened_at DESC LIMIT 1
        """
    )
    with reading(engine) as connection:
        found = connection.execute(statement, {"name": name}).first()
    return None if found is None else LastRun(float(found[0]), str(found[1]), str(found[2]), str(found[3]))


def lacking(used: list[Use], offers: Mapping[str, Offer]) -> list[Lacking]:
    """Name the callbacks that accounts use and nobody offers, with the nearest spelling."""
    known = {name: None for offer in offers.values() for name in offer.callbacks}
    return [Lacking(use, unknown_words(use.name, known)) for use in used if use.name not in known]
