"""Databases with the schema and no rows, used by one test after the other: emptying one takes a tenth of the time of a copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Final

import psycopg
from psycopg import sql

from tests.support.services import PostgresServer

#: What tells whether a test left more than rows: tables and columns, rights, settings, and sizes as a plan sees them.
_TRACES: Final = """
SELECT (SELECT count(*) FROM pg_db_role_setting),
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),
       md5(string_agg(concat_ws(' ', c.relname, c.relkind, c.relpages, c.relacl::text, a.attname, a.atttypid), ',' ORDER BY c.relname, a.attnum))
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relnamespace = 'public'::regnamespace
"""
_TABLES: Final = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
_SEQUENCES: Final = (
    "SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace"
)
#: Bytes by which a database that is used again may have grown: beyond it queries would take other plans than in a new one.
_GROWN_MAX: Final = 1_000_000
_KEPT: Final = frozenset({"alembic_version"})


class DatabasePool:
    """Hands out empty databases of one server.

    Args:
        server: where they are.
        template: the database with the schema.
    """

    def __init__(self, server: PostgresServer, template: str) -> None:
        self._server = server
        self._template = template
        self._free: list[str] = []
        self._numbers = count()
        self._new: tuple[object, ...] = ()
        self._size = 0

    @contextmanager
    def database(self, *, own: bool) -> Iterator[str]:
        """Yield the URL of an empty database.

        Args:
            own: it is made for this test, and dropped after it.
        """
        name = None if own or not self._free else self._free.pop()
        if name is None:
            name = f"test_{next(self._numbers)}"
            self._server.create_database(name, template=self._template)
        yield self._server.url_of(name)
        if own or not self._emptied(name):
            self._server.drop_database(name)
        else:
            self._free.append(name)

    def _emptied(self, name: str) -> bool:
        """Empty a database; return False where more than its rows would differ from a new one."""
        if not self._new:
            with psycopg.connect(self._server.url_of(self._template), autocommit=True) as connection:
                self._new = connection.execute(_TRACES).fetchone() or ()
                self._size = _size(connection)
        with suppress(psycopg.Error), psycopg.connect(self._server.url_of(name), autocommit=True) as found:
            if found.execute(_TRACES).fetchone() != self._new or _size(found) > self._size + _GROWN_MAX:
                return False
            tables = [row[0] for row in found.execute(_TABLES) if row[0] not in _KEPT]
            found.execute(
                sql.SQL("; ").join(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)) for name in tables)
            )
            found.execute(_SEQUENCES)
            return True
        return False


def _size(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(row[0]) if row else 0
