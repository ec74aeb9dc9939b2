"""Accounts by id, as plain objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import Connection, Engine

from models.account_state import AccountState
from worker.db.accounts.columns import BOOLEANS, TYPES
from worker.db.bulk import among_sql, many
from worker.db.engine import reading
from worker.db.plain_rows import plain_rows

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

_NAMES: Final = tuple(TYPES)
#: The columns of a whole account, for a statement that is written as text.
WHOLE: Final = ", ".join(f"account.{name}" for name in _NAMES)


def find_accounts(engine: Engine, ids: Sequence[str]) -> dict[str, Account]:
    """Read accounts by id."""
    with reading(engine) as connection:
        return accounts_in(connection, ids)


def accounts_in(connection: Connection, ids: Sequence[str]) -> dict[str, Account]:
    """Read accounts by id, in an open transaction."""
    engine = connection.engine
    sql = f"SELECT * FROM account WHERE {among_sql(engine, 'id', 'ids')}"
    found = plain_rows(connection, AccountState, sql, {"ids": many(engine, ids)}, booleans=BOOLEANS)
    return {one.id: one for one in cast("list[Account]", found)}


def whole_account(row: Sequence[Any]) -> Account:
    """Return the account of a row that begins with the columns of `WHOLE`."""
    return plain_account(_NAMES, row)


def account_with(columns: Mapping[str, object], **more: object) -> Account:
    """Return an account that has these columns, and no others."""
    account = AccountState()
    vars(account).update(columns, **more)
    return cast("Account", account)


def plain_account(names: Sequence[str], row: Sequence[Any]) -> Account:
    """Return an account that has these columns, and no others."""
    account = AccountState()
    vars(account).update(zip(names, row, strict=False))
    return cast("Account", account)
