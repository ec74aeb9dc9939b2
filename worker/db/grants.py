"""The SQL of a new grant: many in one transaction, and no statement that reads a sealed column.

A process that takes grants in may have a role that can write what is sealed and not read it (`deploy/postgresql/roles.sql`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection
from sqlmodel import col

from models.account import Account
from worker.db.bulk import SCHEDULE, STATE, TOKEN, among, execute
from worker.db.plain_accounts import accounts_with, read_with

#: Every column of an account that holds nothing sealed.
UNSEALED: Final = tuple(
    name
    for name in Account.__table__.columns.keys()  # type: ignore[attr-defined]  # noqa: SIM118  (SQLAlchemy's own mapping)
    if not name.endswith("_sealed")
)
_SEALED: Final = ("access_token_sealed", "refresh_token_sealed")
_PLAIN: Final = {name: kind for name, kind in TOKEN.items() if name not in _SEALED} | SCHEDULE | STATE
_SEEN: Final = {"id": "text", "seen_generation": "bigint", "seen_config": "bigint", "source_fp": "text"}


def read(connection: Connection, ids: Sequence[str]) -> dict[str, Account]:
    """Read the unsealed columns of accounts."""
    statement = accounts_with(UNSEALED).where(among(connection.engine, col(Account.id), ids))
    return {account.id: account for account in read_with(UNSEALED, connection, statement)}


def write(connection: Connection, changed: Iterable[tuple[Account, int]]) -> set[str]:
    """Store the new grants of accounts: (as it shall be, the generation that was read); returns the ids that were stored.

    A sealed token of None stays as it is stored. A row that has moved on is left alone.
    """
    by_tokens: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for account, seen in sorted(changed, key=lambda one: one[0].id):
        sealed = tuple(name for name in _SEALED if getattr(account, name) is not None)
        by_tokens.setdefault(sealed, []).append(
            {name: getattr(account, name) for name in (*_PLAIN, *sealed, "id", "source_fp")}
            | {"seen_generation": seen, "seen_config": account.config_version}
        )
    stored: set[str] = set()
    for sealed, rows in by_tokens.items():
        columns = _SEEN | _PLAIN | dict.fromkeys(sealed, "text")
        stored.update(str(row[0]) for row in execute(connection, columns, _update(sealed), rows))
    return stored


def _update(sealed: tuple[str, ...]) -> str:
    sets = ", ".join(f"{name} = r.{name}" for name in (*_PLAIN, *sealed, "source_fp"))
    return f"""
        UPDATE account SET {sets}, published_generation = -1, kept_sealed = NULL
        FROM r WHERE account.id = r.id AND account.generation = r.seen_generation
         AND account.config_version = r.seen_config
        RETURNING account.id
        """
