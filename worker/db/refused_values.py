"""Values of rows that a database refuses, as an error that says so; whoever stores rows can leave the row out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError

from worker.errors import ValueRefused

#: Classes of SQLSTATE that concern values: data exception, integrity constraint violation, program limit exceeded (a value
#: too long for an index).
_OF_VALUES: Final = frozenset({"22", "23", "54"})
#: SQLite's, and what Python's driver raises before it asks SQLite.
_OF_SQLITE: Final = (sqlite3.IntegrityError, sqlite3.DataError, OverflowError)


@contextmanager
def refusing_values() -> Iterator[None]:
    """Raise what a database says against the values of rows as an error of ours; other errors pass.

    Raises:
        ValueRefused: nothing of the transaction within is stored.
    """
    try:
        yield
    except (DBAPIError, *_OF_SQLITE) as error:
        cause = getattr(error, "orig", None) or error
        if not is_of_values(cause):
            raise
        raise ValueRefused(str(cause).strip().splitlines()[0]) from error  # the lines behind it quote rows


def is_of_values(cause: object) -> bool:
    """Return whether a driver's error is about the values of a statement, and not about the server or the statement."""
    return str(getattr(cause, "sqlstate", None) or "")[:2] in _OF_VALUES or isinstance(cause, _OF_SQLITE)
