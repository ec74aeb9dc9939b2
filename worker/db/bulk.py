"""Many rows in one call of a statement, which names each of them as `r`.

On PostgreSQL the rows travel as one JSON text, read back by `json_to_recordset`: one round trip serves a whole
group. SQLite has no round trips: there the statement runs once a row, its values bound. Either way the text of the
statement never changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Engine,
    SQLColumnExpression,
    Text,
    TextClause,
    any_,
    bindparam,
    func,
    select,
    text,
)

from worker.db.engine import is_sqlite
from worker.db.postgresql.connections import driver_of
from worker.json_text import encode

#: What neither database takes inside a text of ours: NUL, and halves of surrogate pairs.
_UNSTORABLE: Final = {0: None} | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")

Columns = Mapping[str, str]

#: The row, where nothing is joined to it; and the row named as a table.
_FROM_ROW: Final = re.compile(r"\bFROM r\s+WHERE\b")
_ROW: Final = re.compile(r"\br\b(?!\.)")


def execute(
    connection: Connection, columns: Columns, sql: str, rows: Iterable[Mapping[str, Any]], **more: Any
) -> list[tuple[Any, ...]]:
    """Run a statement that names the rows as `r`; returns what it returns.

    Args:
        connection: an open transaction.
        columns: name -> PostgreSQL type of each field of a row.
        sql: the statement, which follows the definition of `r` and names each column of it as `r.NAME`.
        rows: one mapping a row; with no rows nothing is run. PostgreSQL leaves out what is no column.
        more: further parameters of the statement.
    """
    if is_sqlite(connection.engine):
        return _one_by_one(connection, tuple(columns), sql, rows, more)
    payload = list(rows)
    if not payload:
        return []
    statement = _recordset(tuple(columns.items()), sql)
    result = connection.execute(statement, {"rows": json_rows(columns, payload), **more})
    return [tuple(row) for row in result.all()] if result.returns_rows else []


def execute_by_driver(
    connection: Connection, columns: Columns, sql: str, rows: Iterable[Mapping[str, Any]], **more: Any
) -> list[tuple[Any, ...]]:
    """Do what `execute` does, by the driver's own cursor: half of a statement's CPU. No listener sees it."""
    if is_sqlite(connection.engine):
        return _one_by_one(connection, tuple(columns), sql, rows, more)
    payload = list(rows)
    if not payload:
        return []
    statement = driver_statement(columns, sql)
    return fetch(connection, statement, {"rows": json_rows(columns, payload), **more})


def update_accounts(
    connection: Connection,
    columns: Columns,
    sets: str,
    conditions: str,
    rows: Iterable[Mapping[str, Any]],
    *,
    returning: tuple[str, ...] = (),
    **more: Any,
) -> list[tuple[Any, ...]]:
    """Update accounts, each by the `id` of its row and where the conditions hold, by the driver's own cursor.

    Returns the id of each account that was changed and, of the account as it is now, the columns `returning`. SQLite tells a change
    by its count: for RETURNING it copies each page that a row touches, which takes half as much CPU again.
    """
    sql = f"UPDATE account SET {sets} FROM r WHERE account.id = r.id AND {conditions}"
    if not is_sqlite(connection.engine):
        found = ", ".join(f"account.{name}" for name in ("id", *returning))
        return execute_by_driver(connection, columns, f"{sql} RETURNING {found}", rows, **more)
    given = list(rows)
    statement = _numbered(tuple(columns), sql, tuple(more))
    cursor = connection.connection.cursor()
    try:
        changed = [
            row["id"]
            for row, values in zip(given, _bound(columns, given, more), strict=True)
            if cursor.execute(statement, values).rowcount
        ]
        if not returning:
            return [(account,) for account in changed]
        read = f"SELECT id, {', '.join(returning)} FROM account WHERE id = ?"
        return [cursor.execute(read, (account,)).fetchone() for account in changed]
    finally:
        cursor.close()


def fetch(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a statement by PostgreSQL's driver, `%(name)s` for parameters; returns what it returns.

    Raises:
        DBAPIError: as SQLAlchemy would raise it; a lost connection is given up.
    """
    with driver_of(connection) as driver, driver.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.pgresult.nfields else []


def json_rows(columns: Columns, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as the one JSON text in which they travel to PostgreSQL."""
    given = list(rows)
    try:
        found = encode(given).decode()
    except UnicodeEncodeError:  # half of a surrogate pair
        found = "\\u"
    if found.isascii() and "\\u" not in found:
        return found
    # What is not plain ASCII, or NUL, takes the way that makes it storable: mostly there is none.
    return json.dumps(
        [dict(zip(columns, _storable(map(row.__getitem__, columns)), strict=True)) for row in given]
    )


def driver_statement(columns: Columns, sql: str) -> str:
    """Return a statement that names its rows as `r`, which travel as `%(rows)s`, for psycopg's own cursor."""
    return _driver_recordset(tuple(columns.items()), sql)


def recordset(name: str, parameter: str, columns: Columns) -> str:
    """Return the common table expression of rows that travel as `%(parameter)s`, for psycopg's own cursor."""
    return _rows(name, f"%({parameter})s", columns.items())


def column_types(model: Any) -> dict[str, str]:
    """Return the type of each column of a table, as standard SQL names it; PostgreSQL takes those names."""
    return {column.name: column.type.compile() for column in model.__table__.columns}


def attributes_of(row: object, names: Iterable[str]) -> dict[str, Any]:
    """Return attributes as a row for `execute`."""
    wanted = tuple(names)
    return dict(zip(wanted, _attributes(wanted)(row), strict=True))


def columns_of(model: object, names: Iterable[str]) -> dict[str, Any]:
    """Return a model's columns as a row, past SQLAlchemy's descriptors, a Python call each."""
    wanted = tuple(names)
    return dict(zip(wanted, _items(wanted)(vars(model)), strict=True))


@lru_cache(maxsize=64)
def _attributes(names: tuple[str, ...]) -> attrgetter[tuple[Any, ...]]:
    return attrgetter(*names)


@lru_cache(maxsize=64)
def _items(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    if len(names) == 1:  # of one name `itemgetter` gives the bare value
        return lambda columns: (columns[names[0]],)
    return itemgetter(*names)


def among(engine: Engine, column: SQLColumnExpression[Any], ids: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that a column is one of many texts, which travel as one parameter.

    A parameter for each makes a statement of its own for each number of them, to be compiled and planned anew.
    """
    if is_sqlite(engine):
        values = func.json_each(json.dumps(list(ids))).table_valued("value")
        return column.in_(select(values.c.value))
    return column == any_(bindparam(None, list(ids), ARRAY(Text), unique=True))


def among_sql(engine: Engine, column: str, parameter: str) -> str:
    """Return what `among` does as SQL text, for a parameter that `many` makes."""
    if is_sqlite(engine):
        return f"{column} IN (SELECT value FROM json_each(:{parameter}))"
    return f"{column} = ANY(:{parameter})"


def many(engine: Engine, ids: Sequence[str]) -> str | list[str]:
    """Return texts as the one parameter that `among_sql` names."""
    return json.dumps(list(ids)) if is_sqlite(engine) else list(ids)


def storable(value: Any) -> Any:
    """Return a text as both databases can keep it; anything else as it is."""
    if type(value) is not str or (value.isascii() and "\0" not in value):
        return value
    return value.translate(_UNSTORABLE)


def _bound(
    columns: Iterable[str], rows: Iterable[Mapping[str, Any]], more: Mapping[str, Any]
) -> list[list[Any]]:
    """Return the values that SQLite binds, of each row."""
    names, tail = tuple(columns), list(more.values())
    return [_storable(map(row.__getitem__, names)) + tail for row in rows]


def _one_by_one(
    connection: Connection,
    columns: tuple[str, ...],
    sql: str,
    rows: Iterable[Mapping[str, Any]],
    more: dict[str, Any],
) -> list[tuple[Any, ...]]:
    bound = _bound(columns, rows, more)
    if not bound:
        return []
    # The driver's own cursor: what SQLAlchemy adds to each call would cost more than the call.
    cursor = connection.connection.cursor()
    statement = _numbered(columns, sql, tuple(more))
    try:
        if not _returns_rows(sql):
            cursor.executemany(statement, bound)
            return []
        returned: list[tuple[Any, ...]] = []
        for values in bound:
            returned += cursor.execute(statement, values)
        return returned
    finally:
        cursor.close()


@lru_cache(maxsize=128)
def _returns_rows(sql: str) -> bool:
    return sql.lstrip().startswith("SELECT") or "RETURNING" in sql


def _storable(values: Iterable[Any]) -> list[Any]:
    """Do what `storable` does, and call it for the few values that need it: each refresh binds some sixty."""
    return [
        value if type(value) is not str or (value.isascii() and "\0" not in value) else storable(value)
        for value in values
    ]


@lru_cache(maxsize=128)
def _recordset(columns: tuple[tuple[str, str], ...], sql: str) -> TextClause:
    return text(f"WITH {_rows('r', ':rows', columns)} {sql}")


@lru_cache(maxsize=128)
def _driver_recordset(columns: tuple[tuple[str, str], ...], sql: str) -> str:
    wanted = re.sub(r"(?<!:):([a-z_]+)", r"%(\1)s", sql.replace("%", "%%"))
    return f"WITH {_rows('r', '%(rows)s', columns)} {wanted}"


def _rows(name: str, parameter: str, columns: Iterable[tuple[str, str]]) -> str:
    fields = ", ".join(f"{column} {kind}" for column, kind in columns)
    return f"{name} AS (SELECT * FROM json_to_recordset(CAST({parameter} AS json)) AS _({fields}))"


@lru_cache(maxsize=128)
def _numbered(columns: tuple[str, ...], sql: str, more: tuple[str, ...]) -> str:
    """Return the statement with numbered parameters: SQLite looks a named one up by its name, at each call.

    Where the row's values alone are meant, they stand in its place: to update from a table of one row takes twice the CPU.
    """
    numbers = {name: f"?{nth}" for nth, name in enumerate((*columns, *more), 1)}
    wanted = re.sub(r"(?<!:):([a-z_]+)", lambda found: numbers[found[1]], sql)
    placed = re.sub(r"\br\.([a-z_]+)", lambda found: numbers[found[1]], _FROM_ROW.sub("WHERE", wanted))
    # SQLite counts parameters by the highest number: the last one has to be used.
    if not _ROW.search(placed) and re.search(rf"\?{len(numbers)}\b", placed):
        return placed
    return f"WITH r AS (SELECT {', '.join(f'{numbers[name]} AS {name}' for name in columns)}) {wanted}"


TOKEN: Final = {
    "access_token_sealed": "text",
    "refresh_token_sealed": "text",
    "refresh_fp": "text",
    "token_type": "text",
    "scope": "text",
    "issued_at": "double precision",
    "expires_at": "double precision",
    "refresh_token_expires_at": "double precision",
    "refresh_token_end_fixed": "boolean",
    "extra": "text",
    "jitter": "double precision",
}
SCHEDULE: Final = {
    "next_refresh_at": "double precision",
    "plan_at": "double precision",
    "due_reason": "text",
}
STATE: Final = SCHEDULE | {
    "generation": "bigint",
    "status": "text",
    "reason": "text",
    "status_at": "double precision",
    "failures": "bigint",
    "failed_at": "double precision",
    "succeeded_at": "double precision",
    "held_by": "text",
}
KEY: Final = {"id": "text", "attempt": "text", "seen": "bigint", "config_version": "bigint"}
OPENING: Final = {
    "id": "text",
    "account_id": "text",
    "trigger": "text",
    "worker": "text",
    "task_id": "text",
    "generation": "bigint",
    "config_version": "bigint",
    "refresh_fp": "text",
    "lock_wait_ms": "double precision",
}
CLOSING: Final = {
    "generation_after": "bigint",
    "received_fp": "text",
    "outcome": "text",
    "reason": "text",
    "http_status": "bigint",
    "error": "text",
    "error_description": "text",
    "provider_request_id": "text",
    "request": "text",
    "output": "text",
    "scope_lost": "text",
    "latency_ms": "double precision",
    "next_refresh_at": "double precision",
}
