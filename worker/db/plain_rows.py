"""Rows as plain objects, read by statements that are text: they need no ORM, whose loading costs more than a short command."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from sqlalchemy import Connection, text

T = TypeVar("T")


def plain_rows(
    connection: Connection,
    make: type[T],
    sql: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    booleans: Collection[str] = (),
) -> list[T]:
    """Run a statement that selects whole rows of a table; returns them as objects of a class.

    Args:
        connection: an open transaction.
        make: the class, whose attributes are the table's columns.
        sql: the statement. It selects `*`: a column that a later release added is one more attribute.
        parameters: the statement's.
        booleans: columns for which SQLite has numbers.
    """
    result = connection.execute(text(sql), parameters or {})
    names = tuple(result.keys())
    found: list[T] = []
    for row in result.all():
        one = object.__new__(make)
        columns = vars(one)
        columns.update(zip(names, row, strict=True))
        for name in booleans:
            columns[name] = bool(columns[name])
        found.append(one)
    return found
