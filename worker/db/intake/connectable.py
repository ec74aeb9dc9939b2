"""What Connect sees of accounts and clients: no sealed column, for the process that faces the web can't read one."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine, select
from sqlmodel import SQLModel

from models.tables.account import Account
from models.tables.client import Client
from worker.db.accounts import plain as plain_accounts
from worker.db.engine import reading

_ACCOUNT: Final = (
    "id",
    "provider",
    "client",
    "client_id",
    "token_url",
    "server_url",
    "callback",
    "refresh_method",
    "scope",
    "knobs",
    "labels",
    "status",
)
_CLIENT: Final = ("name", "provider", "client_id", "client_auth", "token_url", "return_urls", "issuer")
_ACCOUNTS: Final = SQLModel.metadata.tables["account"]
_CLIENTS: Final = SQLModel.metadata.tables["client"]


class Connectable:
    """Accounts and clients as a session needs them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def account(self, account_id: str) -> Account | None:
        """Read an account; it has no other columns than these."""
        statement = plain_accounts.accounts_with(_ACCOUNT).where(_ACCOUNTS.c.id == account_id)
        with reading(self._engine) as connection:
            found = plain_accounts.read_with(_ACCOUNT, connection, statement)
        return found[0] if found else None

    def client(self, name: str) -> Client | None:
        """Read a client, without its secret."""
        statement = select(*(_CLIENTS.c[column] for column in _CLIENT)).where(_CLIENTS.c.name == name)
        with reading(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else Client(**row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for it)
