"""Which accounts a person or a program asks for, as SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import ColumnElement
from sqlmodel import col, select

from models.account import Account, Status
from models.account_label import AccountLabel

#: A reason is of one of these, and an index holds them alone.
_FAILING: Final = (Status.DEGRADED.value, Status.REAUTHORIZE.value, Status.MISCONFIGURED.value)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which accounts; None: any."""

    status: str | None = None
    provider: str | None = None
    refresh_method: str | None = None
    #: The name of the client that they use.
    client: str | None = None
    #: Labels that they have, all of them: name -> value.
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Those whose status changed then or since, epoch seconds.
    changed_since: float | None = None
    #: Those that are failing for this reason.
    reason: str | None = None
    #: Those that came due before then, epoch seconds, and that no pause has set aside.
    due_before: float | None = None


EVERY_ACCOUNT: Final = Filter()


def conditions_of(wanted: Filter) -> list[ColumnElement[bool]]:
    """Return the conditions that a row of `account` has to meet."""
    pairs = (
        (Account.status, wanted.status),
        (Account.provider, wanted.provider),
        (Account.refresh_method, wanted.refresh_method),
        (Account.client, wanted.client),
    )
    return [
        *(col(column) == value for column, value in pairs if value is not None),
        *(_has_label(name, value) for name, value in wanted.labels.items()),
        *(() if wanted.changed_since is None else (col(Account.status_at) >= wanted.changed_since,)),
        *(() if wanted.reason is None else (_fails_for(wanted.reason),)),
        *(() if wanted.due_before is None else (_due_before(wanted.due_before),)),
    ]


def _has_label(name: str, value: str) -> ColumnElement[bool]:
    having = select(AccountLabel.account_id).where(AccountLabel.name == name, AccountLabel.value == value)
    return col(Account.id).in_(having)


# Both by id: pages are in the order of ids, and a database would walk along all of them for the few that are asked for.


def _fails_for(reason: str) -> ColumnElement[bool]:
    failing = select(Account.id).where(col(Account.status).in_(_FAILING), Account.reason == reason)
    return col(Account.id).in_(failing)


def _due_before(at: float) -> ColumnElement[bool]:
    due = select(Account.id).where(col(Account.next_refresh_at) < at, col(Account.plan_at).is_not(None))
    return col(Account.id).in_(due)
