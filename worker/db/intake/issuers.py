"""The SQL of issuers' metadata, and of clients that were registered with them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, Engine, bindparam, select, text
from sqlmodel import SQLModel

from models.tables.issuer import ClientRegistration, IssuerMetadata
from worker.db.engine import reading, writing

_ISSUERS: Final = SQLModel.metadata.tables["issuer_metadata"]
_REGISTRATIONS: Final = SQLModel.metadata.tables["client_registration"]


class Issuers:
    """The table of issuers' metadata."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, issuer: str) -> IssuerMetadata | None:
        """Read what is stored of an issuer."""
        return self.find_all([issuer]).get(issuer)

    def find_all(self, issuers: Collection[str]) -> dict[str, IssuerMetadata]:
        """Read what is stored of issuers, by issuer."""
        statement = select(*_ISSUERS.columns).where(_ISSUERS.c.issuer.in_(issuers))
        with reading(self._engine) as connection:
            rows = connection.execute(statement).all()
        found = (IssuerMetadata(**row._mapping) for row in rows)  # noqa: SLF001  (SQLAlchemy's public name for it)
        return {one.issuer: one for one in found}

    def unread(self, *, before: float, limit: int) -> list[str]:
        """Return issuers that were asked last before this time, epoch seconds; the longest ago first."""
        statement = (
            select(_ISSUERS.c.issuer)
            .where(_ISSUERS.c.asked_at < before, _ISSUERS.c.document.is_not(None))
            .order_by(_ISSUERS.c.asked_at)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [str(issuer) for issuer in connection.execute(statement).scalars()]

    def save(self, metadata: IssuerMetadata) -> None:
        """Store what was read, over what was read before; a later reading is not overwritten."""
        values = {name: getattr(metadata, name) for name in _ISSUERS.columns.keys()}  # noqa: SIM118
        with writing(self._engine) as connection:
            connection.execute(text(_upsert("issuer_metadata", list(values), "issuer", "asked_at")), values)


class Registrations:
    """The table of clients' registrations."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, client: str) -> ClientRegistration | None:
        """Read a client's registration."""
        statement = select(*_REGISTRATIONS.columns).where(_REGISTRATIONS.c.client == client)
        with reading(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else ClientRegistration(**row._mapping)  # noqa: SLF001

    def with_issuer(self, issuer: str) -> list[ClientRegistration]:
        """Return the registrations with an issuer whose clients are stored, the newest first."""
        statement = (
            select(*_REGISTRATIONS.columns)
            .where(_REGISTRATIONS.c.issuer == issuer, text(_CLIENT_IS_STORED))
            .order_by(_REGISTRATIONS.c.registered_at.desc())
        )
        with reading(self._engine) as connection:
            rows = connection.execute(statement).all()
        return [ClientRegistration(**row._mapping) for row in rows]  # noqa: SLF001

    def ending(self, *, before: float) -> list[ClientRegistration]:
        """Return the registrations of clients whose secret ends before this time, epoch seconds; the soonest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(text(_ENDING), {"before": before})
            return [ClientRegistration(**row._mapping) for row in rows]  # noqa: SLF001

    def refused(self, reasons: Collection[str]) -> dict[str, float]:
        """Return the registered clients that their server refuses, and since when, epoch seconds.

        Args:
            reasons: of accounts whose client is refused. No account of the client got a token since the first of them.
        """
        statement = text(_REFUSED).bindparams(bindparam("reasons", expanding=True))
        with reading(self._engine) as connection:
            rows = connection.execute(statement, {"reasons": sorted(reasons)})
            return {str(client): float(since) for client, since in rows}

    def scopes_of(self, client: str) -> list[str]:
        """Return the scopes that accounts of a client have, without those of accounts that name none."""
        statement = text(
            "SELECT DISTINCT scope FROM account WHERE client = :client AND scope IS NOT NULL LIMIT 100"
        )
        with reading(self._engine) as connection:
            found = connection.execute(statement, {"client": client}).scalars()
            return sorted({scope for one in found for scope in str(one).split()})

    def save(self, registration: ClientRegistration) -> None:
        """Store a registration, over the client's earlier one."""
        with writing(self._engine) as connection:
            put_registration(connection, registration)


def put_registration(connection: Connection, registration: ClientRegistration) -> None:
    """Store a registration within a transaction, such as the one that stores its client."""
    values = {name: getattr(registration, name) for name in _REGISTRATIONS.columns.keys()}  # noqa: SIM118
    connection.execute(text(_upsert("client_registration", list(values), "client", "registered_at")), values)


_CLIENT_IS_STORED: Final = "EXISTS (SELECT 1 FROM client WHERE client.name = client_registration.client)"


_COLUMNS: Final = ", ".join(f"r.{name}" for name in _REGISTRATIONS.columns.keys())  # noqa: SIM118
_ENDING: Final = f"""
SELECT {_COLUMNS} FROM client_registration r JOIN client c ON c.name = r.client
WHERE c.secret_expires_at < :before ORDER BY c.secret_expires_at, r.client
"""
_REFUSED: Final = """
SELECT client, since FROM (
 SELECT a.client AS client, min(a.failed_at) AS since FROM account a
 JOIN client_registration r ON r.client = a.client
 WHERE a.status = 'misconfigured' AND a.reason IN :reasons AND a.failed_at IS NOT NULL GROUP BY a.client
) refused
WHERE NOT EXISTS (SELECT 1 FROM account b WHERE b.client = refused.client AND b.issued_at > refused.since)
ORDER BY client
"""


def _upsert(table: str, names: list[str], key: str, newer: str) -> str:
    placed = ", ".join(f":{name}" for name in names)
    sets = ", ".join(f"{name} = excluded.{name}" for name in names if name != key)
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({placed}) ON CONFLICT ({key}) DO UPDATE SET {sets} "
        f"WHERE {table}.{newer} <= excluded.{newer}"
    )
