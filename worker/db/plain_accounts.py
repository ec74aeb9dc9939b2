"""Accounts as plain objects: what SQLAlchemy does for a mapped one is paid for by every refresh, and used by none.

Reading a mapped attribute is a call in Python, and a refresh reads a hundred; loading through a session makes an
identity and a state for each row. Rows are written by statements of ours, so nobody needs any of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Connection, Select, TextualSelect, literal_column, select, text
from sqlalchemy.types import TypeEngine
from sqlmodel import SQLModel

from models.account import Account

_TABLE: Final = SQLModel.metadata.tables["account"]
_NAMES: Final = tuple(_TABLE.columns.keys())
#: The columns of a whole account, for a statement that is written as text.
WHOLE: Final = ", ".join(f"account.{name}" for name in _NAMES)

#: Has the transitions of `Account`, and the columns as attributes of its own.
_Unwatched: Final = type(
    "Account",
    (),
    {
        name: member
        for name, member in vars(Account).items()
        if isinstance(member, FunctionType | property) and not name.startswith("__")
    },
)


def accounts_and(*more: ColumnElement[Any]) -> Select[Any]:
    """Begin a statement that gives whole accounts, and something more of each."""
    return select(*_TABLE.columns, *more)


def accounts_with(names: Sequence[str]) -> Select[Any]:
    """Begin a statement that gives accounts that have these columns, and no others."""
    return select(*(_TABLE.columns[name] for name in names))


def read(connection: Connection, statement: Select[Any]) -> list[tuple[Account, Sequence[Any]]]:
    """Run a statement of `accounts_and`; returns each account with what else was asked for."""
    return [(plain_account(_NAMES, row), row[len(_NAMES) :]) for row in connection.execute(statement).all()]


def read_with(names: Sequence[str], connection: Connection, statement: Select[Any]) -> list[Account]:
    """Run a statement of `accounts_with` these columns."""
    return [plain_account(names, row) for row in connection.execute(statement).all()]


def typed(statement: str, *more: TypeEngine[Any]) -> TextualSelect:
    """Return a statement that gives the columns of `WHOLE`, and more of these types, for a database that has no booleans."""
    return text(statement).columns(
        *_TABLE.columns, *(literal_column(f"more_{nth}", kind) for nth, kind in enumerate(more))
    )


def whole_account(row: Sequence[Any]) -> Account:
    """Return the account of a row that begins with the columns of `WHOLE`."""
    return plain_account(_NAMES, row)


def account_with(columns: Mapping[str, object], **more: object) -> Account:
    """Return an account that has these columns, and no others."""
    account = _Unwatched()
    vars(account).update(columns, **more)
    return cast("Account", account)


def plain_account(names: Sequence[str], row: Sequence[Any]) -> Account:
    """Return an account that has these columns, and no others."""
    account = _Unwatched()
    vars(account).update(zip(names, row, strict=False))
    return cast("Account", account)
