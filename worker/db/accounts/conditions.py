"""The SQL of accounts that a person or a program asks for."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Engine, func
from sqlmodel import Session, col, select

from models.tables.account import Account, Status
from models.tables.account_label import AccountLabel
from worker.db.accounts.filter import Filter
from worker.db.engine import reading

#: A reason is of one of these, and an index holds them alone.
_FAILING: Final = (Status.DEGRADED.value, Status.REAUTHORIZE.value, Status.MISCONFIGURED.value)


def count(engine: Engine, wanted: Filter) -> int:
    """Count the accounts."""
    with reading(engine) as connection, Session(connection) as session:
        return session.exec(select(func.count()).select_from(Account).where(*conditions_of(wanted))).one()


def page(engine: Engine, wanted: Filter, after: str, size: int) -> list[Account]:
    """Return the accounts that follow an id, in the order of their ids."""
    statement = select(Account).where(col(Account.id) > after, *conditions_of(wanted))
    with reading(engine) as connection, Session(connection, expire_on_commit=False) as session:
        return list(session.exec(statement.order_by(col(Account.id)).limit(size)))


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
