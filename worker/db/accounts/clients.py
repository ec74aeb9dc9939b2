"""The SQL of clients: read by name, written only over the row that was read, removed where no account needs them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, text
from sqlmodel import Session, col, select

from models.tables.client import Client
from worker.db.bulk import among, column_types, execute
from worker.db.engine import reading, writing

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

#: Writes, in the transaction that changes a client, what the audit trail has of it.
Note = Callable[[Connection], None]

_TYPES: Final = column_types(Client)
_WRITTEN: Final = tuple(name for name in _TYPES if name not in {"name", "created_at"})


class Clients:
    """The table of clients."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, names: Collection[str]) -> dict[str, Client]:
        """Read clients by name, in one statement; none where no name is given."""
        if not names:
            return {}
        condition = among(self._engine, col(Client.name), sorted(names))
        with reading(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            return {one.name: one for one in session.exec(select(Client).where(condition))}

    def of(self, account: Account) -> Client | None:
        """Read the client that an account names; None where it names none, or one that is not stored."""
        return None if account.client is None else self.find({account.client}).get(account.client)

    def all(self) -> list[Client]:
        """Return every client, in the order of their names."""
        with reading(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            return list(session.exec(select(Client).order_by(col(Client.name))))

    def save(self, client: Client, *, seen: int | None, note: Note | None = None) -> bool:
        """Store a client; False where its name is taken, or where it was changed meanwhile.

        Args:
            client: as it shall be.
            seen: the version that this was computed from; None: it is new.
            note: writes the audit trail in the same commit.
        """
        names = ", ".join(_TYPES)
        sets = ", ".join(f"{name} = r.{name}" for name in _WRITTEN)
        given = ", ".join(f"r.{name}" for name in _TYPES)
        insert = f"INSERT INTO client ({names}) SELECT {given} FROM r WHERE true ON CONFLICT (name) DO NOTHING RETURNING name"
        update = f"UPDATE client SET {sets} FROM r WHERE client.name = r.name AND client.version = r.seen RETURNING client.name"
        row = {name: getattr(client, name) for name in _TYPES}
        with writing(self._engine) as connection:
            if seen is None:
                stored = execute(connection, _TYPES, insert, [row])
            else:
                stored = execute(connection, _TYPES | {"seen": "bigint"}, update, [row | {"seen": seen}])
            if stored and note is not None:
                note(connection)
        return bool(stored)

    def remove(self, name: str, *, even_if_used: bool = False, note: Note | None = None) -> int | None:
        """Remove a client that no account names; return the number of accounts that name it.

        Args:
            name: the client's.
            even_if_used: remove it though accounts name it.
            note: writes the audit trail in the same commit.

        Returns:
            0 or, with `even_if_used`, more: it is removed. Else it is kept. None: there is none of this name.
        """
        with writing(self._engine) as connection:
            used = connection.execute(text(_USED), {"name": name}).scalar_one_or_none()
            if used is None or (used and not even_if_used):
                return used
            connection.execute(text("DELETE FROM client WHERE name = :name"), {"name": name})
            # Another client of this name must not be renewed as this one.
            connection.execute(text("DELETE FROM client_registration WHERE client = :name"), {"name": name})
            if note is not None:
                note(connection)
        return int(used)

    def accounts(self) -> dict[str, int]:
        """Count the accounts that name each client."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                text("SELECT client, count(*) FROM account WHERE client IS NOT NULL GROUP BY client")
            )
            return {str(name): int(count) for name, count in rows}


#: No row where there is no such client.
_USED: Final = """
SELECT (SELECT count(*) FROM account WHERE account.client = client.name) FROM client WHERE name = :name
"""
