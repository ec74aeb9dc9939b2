"""The SQL of a client's accounts: they take over its change a page at a time, in the order of their ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Engine, text
from sqlmodel import Session, col, or_, select

from models.tables.account import Account, Status
from models.tables.client import Client
from worker.db.bulk import among
from worker.db.engine import is_sqlite, reading, writing

#: Accounts in one commit: workers wait for it no longer than for an import's.
PAGE: Final = 1_000
#: A gate of one client; the name of an origin's gate has no `|` (`worker/policy/lane.py`).
_CLIENTS_GATE: Final = "%|client:%"


class ClientAccounts:
    """The accounts that name a client."""

    def __init__(self, engine: Engine, *, page: int = PAGE) -> None:
        self._engine = engine
        self._page = page
        self._lock = "" if is_sqlite(engine) else "FOR UPDATE"

    def unfinished(self) -> list[str]:
        """Return the clients whose last change not all of their accounts have taken over."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                text("SELECT name FROM client WHERE wake_after IS NOT NULL ORDER BY name")
            )
            return [str(row[0]) for row in rows]

    def unfinished_client(self, name: str) -> Client | None:
        """Read a client whose last change not all of its accounts have taken over; None: they have, or it is gone."""
        wanted = select(Client).where(col(Client.name) == name, col(Client.wake_after).is_not(None))
        with reading(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            return session.exec(wanted).first()

    def take_over_page(self, client: Client) -> list[str]:
        """Copy what the next accounts are refreshed with, and return their ids, in order; none: all have it.

        Their config version grows. A `token_url` that was the client's, or none, is the client's from now on.
        """
        with writing(self._engine) as connection:
            rows = connection.execute(
                text(
                    f"""
                    UPDATE account SET client_id = :client_id, client_auth = :client_auth,
                     token_url = CASE WHEN token_url IS NULL OR token_url = :before THEN :token_url ELSE token_url END,
                     config_version = config_version + 1
                    WHERE id IN (SELECT id FROM account WHERE client = :name AND id > :after
                     ORDER BY id LIMIT :page {self._lock}) RETURNING id
                    """
                ),
                {
                    "client_id": client.client_id,
                    "client_auth": client.client_auth,
                    "token_url": client.token_url,
                    "before": client.token_url_before,
                    "name": client.name,
                    "after": client.wake_after or "",
                    "page": self._page,
                },
            )
            return sorted(str(row[0]) for row in rows)

    def advance(self, client: Client, ids: Sequence[str]) -> None:
        """Note how far a change is taken over; a client that was changed meanwhile begins with the first again."""
        after = ids[-1] if len(ids) == self._page else None
        with writing(self._engine) as connection:
            connection.execute(
                text("UPDATE client SET wake_after = :after WHERE name = :name AND version = :version"),
                {"after": after, "name": client.name, "version": client.version},
            )

    def stopped(self, ids: Sequence[str]) -> list[Account]:
        """Read those of the accounts that are misconfigured or that a client's gate holds, soonest to end first."""
        if not ids:
            return []
        of_the_client = or_(
            col(Account.status) == Status.MISCONFIGURED, col(Account.held_by).like(_CLIENTS_GATE)
        )
        wanted = select(Account).where(among(self._engine, col(Account.id), list(ids)), of_the_client)
        with reading(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            return list(session.exec(wanted.order_by(col(Account.expires_at), col(Account.id))))
