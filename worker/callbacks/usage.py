"""The accounts of each callback, its last run, and callbacks that no running worker knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from sqlalchemy import Engine, text

from worker.broker.queues import CALLBACK_WORKER
from worker.callbacks.catalog import CallbackCatalog, unknown_briefly, unknown_words
from worker.db.engine import reading

#: Where no heartbeat is there: no callback worker runs, or it is not ready.
NO_CATALOG: Final = (
    "no running worker has a catalog of callbacks in Redis: none takes from `callback` (`refreshd up` has one, else "
    f"`{CALLBACK_WORKER}`), or it has just started and still imports them"
)
_NAMED_MAX: Final = 5


class LastRun(Struct, frozen=True):
    """The latest run of a callback. `at` is epoch seconds."""

    at: float
    account: str
    outcome: str
    reason: str


class Use(Struct, frozen=True):
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


class Lacking(Struct, frozen=True):
    """A callback that accounts name and no running worker knows. `words` say what they do know, `brief` does not."""

    use: Use
    words: str
    brief: str


def uses(engine: Engine) -> list[Use]:
    """Return every callback that accounts name, by name. An index holds these accounts alone.

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
    """Return the latest run of a callback for an account that still names it.

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


def lacking(used: list[Use], offers: Mapping[str, CallbackCatalog]) -> list[Lacking]:
    """Return the callbacks that accounts use and no worker knows, with the nearest spelling."""
    known = {name: None for offer in offers.values() for name in offer.callbacks}
    return [
        Lacking(
            use,
            unknown_words(use.name, known) if offers else NO_CATALOG,
            unknown_briefly(use.name, known) if offers else NO_CATALOG,
        )
        for use in used
        if use.name not in known
    ]


def lines_of(missing: Sequence[Lacking]) -> list[str]:
    """Return a line for each missing callback; the known callbacks are listed once."""
    if missing and missing[0].words == NO_CATALOG:
        names = ", ".join(f"{one.use.name} ({one.use.shown})" for one in missing[:_NAMED_MAX])
        more = f" and {len(missing) - _NAMED_MAX} more" if len(missing) > _NAMED_MAX else ""
        return [f"{NO_CATALOG}. Waiting for it: {names}{more}"]
    return [f"{one.use.shown}: {one.brief if i else one.words}" for i, one in enumerate(missing)]
