"""Statements of PostgreSQL that travel together: one wait for all of them, where each would have one of its own.

They run one after the other, each with a snapshot of its own, as if they were sent one by one. Through a pooler they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from msgspec import Struct
from sqlalchemy import Connection

from worker.db.bulk import Columns, driver_statement, execute, json_rows
from worker.db.engine import is_sqlite
from worker.db.postgresql.connections import driver_of, is_pooled


class Sent(Protocol):
    """What was sent; its rows are there once the pipeline has ended."""

    def fetchall(self) -> Sequence[Sequence[Any]]: ...


class Statement(Struct, frozen=True):
    """A statement as `worker.db.bulk.execute` takes it."""

    columns: Columns
    sql: str
    rows: Sequence[Mapping[str, Any]]


class Pipeline:
    """Sends statements on the connection of an open transaction.

    Args:
        driver: psycopg's connection.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def send(self, statement: str, parameters: Mapping[str, Any]) -> Sent:
        """Send a statement, its parameters named as `%(name)s`."""
        sent: Sent = self._driver.cursor().execute(statement, parameters)
        return sent

    def commit(self) -> None:
        """End the transaction behind what was sent; where that fails, nothing of it is stored."""
        self._driver.commit()


def execute_together(connection: Connection, statements: Iterable[Statement]) -> None:
    """Run statements on rows that they name as `r`, of which none gives an answer; one without rows is left out."""
    if is_sqlite(connection.engine):
        for statement in statements:
            execute(connection, statement.columns, statement.sql, statement.rows)
        return
    with pipelined(connection) as pipeline:
        for statement in statements:
            if statement.rows:
                pipeline.send(
                    driver_statement(statement.columns, statement.sql),
                    {"rows": json_rows(statement.columns, statement.rows)},
                )


@contextmanager
def pipelined(connection: Connection) -> Iterator[Pipeline]:
    """Send what is sent within together, and wait for all of it at the end.

    Args:
        connection: to PostgreSQL, in an open transaction.

    Raises:
        DBAPIError: a statement failed; its class is SQLAlchemy's for that of psycopg.
    """
    with driver_of(connection) as driver:
        together: AbstractContextManager[Any] = nullcontext() if is_pooled(connection) else driver.pipeline()
        with together:
            yield Pipeline(driver)
