"""The SQL of a new grant: many in one transaction, and no statement that reads a sealed column.

A process that takes grants in may have a role that can write what is sealed and not read it (`deploy/postgresql/roles.sql`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, TextClause, text

from models.account import Account
from worker.db.bulk import SCHEDULE, STATE, TOKEN, execute, many
from worker.db.engine import is_sqlite
from worker.db.fleet.twins import ONE_AFTER_THE_OTHER
from worker.db.plain_accounts import plain_account

#: Every column of an account that holds nothing sealed.
UNSEALED: Final = (
    "id",
    *(name for name in Account.model_fields if name != "id" and not name.endswith("_sealed")),
)
_SEALED: Final = ("access_token_sealed", "refresh_token_sealed")
_PLAIN: Final = {name: kind for name, kind in TOKEN.items() if name not in _SEALED} | SCHEDULE | STATE
_SEEN: Final = {"id": "text", "seen_generation": "bigint", "seen_config": "bigint"}


def read(connection: Connection, ids: Sequence[str]) -> dict[str, Account]:
    """Read the unsealed columns of accounts, and wait for every other transaction that stores refresh tokens.

    One statement does both: a row that changed while it waited is not written over, and twins are looked for after it.
    """
    engine = connection.engine
    rows = connection.execute(_read(is_sqlite(engine)), {"ids": many(engine, ids)}).all()
    return {str(row[0]): plain_account(UNSEALED, row) for row in rows}


@cache
def _read(on_sqlite: bool) -> TextClause:
    names = ", ".join(f"account.{name}" for name in UNSEALED)
    if on_sqlite:  # one writer at a time, by itself
        return text(f"SELECT {names} FROM account WHERE id IN (SELECT value FROM json_each(:ids))")
    return text(
        f"WITH turn AS MATERIALIZED (SELECT {ONE_AFTER_THE_OTHER}) "
        f"SELECT {names} FROM turn CROSS JOIN account WHERE account.id = ANY(:ids)"
    )


def write(connection: Connection, changed: Iterable[tuple[Account, int]]) -> set[str]:
    """Store the new grants of accounts: (as it shall be, the generation that was read); returns the ids that were stored.

    A sealed token of None stays as it is stored. A row that has moved on is left alone. `source_fp` stays that of the last
    file: a file that is imported again, with the token of before the consent, is known by it.
    """
    by_tokens: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for account, seen in sorted(changed, key=lambda one: one[0].id):
        sealed = tuple(name for name in _SEALED if getattr(account, name) is not None)
        by_tokens.setdefault(sealed, []).append(
            {name: getattr(account, name) for name in (*_PLAIN, *sealed, "id")}
            | {"seen_generation": seen, "seen_config": account.config_version}
        )
    stored: set[str] = set()
    for sealed, rows in by_tokens.items():
        columns = _SEEN | _PLAIN | dict.fromkeys(sealed, "text")
        stored.update(str(row[0]) for row in execute(connection, columns, _update(sealed), rows))
    return stored


def _update(sealed: tuple[str, ...]) -> str:
    sets = ", ".join(f"{name} = r.{name}" for name in (*_PLAIN, *sealed))
    return f"""
        UPDATE account SET {sets}, published_generation = -1, kept_sealed = NULL
        FROM r WHERE account.id = r.id AND account.generation = r.seen_generation
         AND account.config_version = r.seen_config
        RETURNING account.id
        """
