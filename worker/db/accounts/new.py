"""The SQL of new accounts: many in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from worker.db.accounts.columns import NULLABLE, TYPES
from worker.db.bulk import columns_of, execute_by_driver, storable

if TYPE_CHECKING:  # tables bring the ORM, which storing accounts has no use for
    from models.tables.account import Account


def insert(connection: Connection, added: Sequence[Account]) -> list[tuple[Any, ...]]:
    """Insert accounts, and return the ids that were free.

    Columns that none of them has stay out of the statement, and what all of many have travels once.
    """
    if not added:
        return []
    columns = dict[str, str]()
    shared = dict[str, Any]()
    first, *others = map(vars, added)
    for name, kind in TYPES.items():
        value = first[name]
        given_alone = not others and value is not None
        if name == "id" or given_alone or any(one[name] != value for one in others):
            columns[name] = kind
        elif value is not None or name not in NULLABLE:
            shared[name] = storable(value)
    names = (*columns, *shared)
    # Texts as `text`: an explicit cast to VARCHAR(n) cuts what is too long, where a column refuses it.
    kinds = [TYPES[name] for name in shared]
    given = ", ".join(
        (
            *(f"r.{name}" for name in columns),
            *(f"CAST(:{name} AS {kind})" for name, kind in zip(shared, kinds, strict=True)),
        )
    )
    return execute_by_driver(
        connection,
        columns,
        f"INSERT INTO account ({', '.join(names)}) SELECT {given} FROM r WHERE true "
        "ON CONFLICT (id) DO NOTHING RETURNING id",
        [columns_of(one, columns) for one in added],
        **shared,
    )
