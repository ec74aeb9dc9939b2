"""Accounts as plain objects: what SQLAlchemy does for a mapped one is paid for by every refresh, and used by none.

Reading a mapped attribute is a call in Python, and a refresh reads a hundred; loading through a session makes an
identity and a state for each row. Rows are written by statements of ours, so nobody needs any of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Select, TextualSelect, literal_column, select, text
from sqlalchemy.types import TypeEngine

from models.tables.account import Account
from worker.db.accounts.rows import plain_account

_TABLE: Final = Account.__table__  # type: ignore[attr-defined]


def accounts_with(names: Sequence[str]) -> Select[Any]:
    """Begin a statement that gives accounts that have these columns, and no others."""
    return select(*(_TABLE.columns[name] for name in names))


def read_with(names: Sequence[str], connection: Connection, statement: Select[Any]) -> list[Account]:
    """Run a statement of `accounts_with` these columns."""
    return [plain_account(names, row) for row in connection.execute(statement).all()]


def typed(statement: str, *more: TypeEngine[Any]) -> TextualSelect:
    """Return a statement that gives the columns of `WHOLE`, and more of these types, for a database that has no booleans."""
    return text(statement).columns(
        *_TABLE.columns, *(literal_column(f"more_{nth}", kind) for nth, kind in enumerate(more))
    )
