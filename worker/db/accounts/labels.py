"""The SQL of the index of labels: written in the transaction that writes `account.labels`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from models.label import read_labels
from worker.db.bulk import execute
from worker.db.pipelined import Statement, execute_together

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

_LABEL: Final = {"account_id": "text", "name": "text", "value": "text"}
_INSERT: Final = "INSERT INTO account_label (account_id, name, value) SELECT r.account_id, r.name, r.value FROM r WHERE true"


def write(connection: Connection, accounts: Sequence[Account]) -> None:
    """Have the index say of accounts what their column `labels` says, whatever it said before."""
    execute_together(connection, written(accounts))


def written(accounts: Sequence[Account]) -> list[Statement]:
    """Return the statements of `write`."""
    named = [
        {"account_id": account.id, "name": name, "value": value}
        for account in sorted(accounts, key=_id)
        for name, value in account.label_set.items()
    ]
    return [_forgotten([account.id for account in accounts]), Statement(_LABEL, _INSERT, named)]


def change(connection: Connection, accounts: Sequence[Account]) -> list[tuple[Any, ...]]:
    """Write the column `labels`, and return the ids of the accounts that are there.

    One that a pause had set aside, of a label that it has no more perhaps, is looked at by the next plan.
    """
    return execute(
        connection,
        {"id": "text", "labels": "text"},
        "UPDATE account SET labels = r.labels, plan_at = coalesce(account.plan_at, account.next_refresh_at) "
        "FROM r WHERE account.id = r.id RETURNING account.id",
        [{"id": account.id, "labels": account.labels} for account in sorted(accounts, key=_id)],
    )


def forget(connection: Connection, ids: Collection[str]) -> None:
    """Take accounts out of the index."""
    execute_together(connection, [_forgotten(ids)])


def _forgotten(ids: Collection[str]) -> Statement:
    return Statement(
        {"id": "text"},
        "DELETE FROM account_label WHERE account_id IN (SELECT id FROM r)",
        [{"id": account_id} for account_id in sorted(ids)],
    )


def _id(account: Account) -> str:
    return account.id


def lacking(connection: Connection, ids: Sequence[str], required: Mapping[str, str]) -> set[str]:
    """Return the accounts that are there and lack one of these labels, as their column says."""
    rows = execute(
        connection,
        {"id": "text"},
        "SELECT account.id, account.labels FROM r JOIN account ON account.id = r.id",
        [{"id": account_id} for account_id in ids],
    )
    return {str(account_id) for account_id, text in rows if not required.items() <= read_labels(text).items()}
