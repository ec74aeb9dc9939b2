"""Many rows in one statement: a JSON array as the one parameter, read as a table named `r`.

The text of a statement then never changes with the number of rows, on SQLite (`json_each`) and PostgreSQL
(`json_to_recordset`) alike, and one round trip serves a whole group.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, text

from worker.io.database import is_sqlite

#: What neither database takes inside a JSON text: NUL, and halves of surrogate pairs.
_UNSTORABLE: Final = {0: None} | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")

Columns = Mapping[str, str]


def execute(
    connection: Connection, columns: Columns, sql: str, rows: Iterable[Mapping[str, Any]], **more: Any
) -> list[tuple[Any, ...]]:
    """Run a statement that names the rows as `r`; gives what it returns.

    Args:
        connection: an open transaction.
        columns: name -> PostgreSQL type of each field of a row.
        sql: the statement, which follows the definition of `r`.
        rows: one mapping a row; with no rows nothing is run.
        more: further parameters of the statement.
    """
    payload = [{name: storable(row[name]) for name in columns} for row in rows]
    if not payload:
        return []
    statement = text(f"{_table(connection, columns)} {sql}")
    result = connection.execute(statement, {"rows": json.dumps(payload), **more})
    return [tuple(row) for row in result] if result.returns_rows else []


def storable(value: Any) -> Any:
    """Give a text as both databases can keep it; anything else as it is."""
    if type(value) is not str or (value.isascii() and "\0" not in value):
        return value
    return value.translate(_UNSTORABLE)


def _table(connection: Connection, columns: Columns) -> str:
    if is_sqlite(connection.engine):
        fields = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in columns)
        return f"WITH r AS (SELECT {fields} FROM json_each(:rows))"
    fields = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"WITH r AS (SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS t({fields}))"
