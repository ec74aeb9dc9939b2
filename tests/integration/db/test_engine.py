"""What a transaction of ours is: on PostgreSQL a statement that stands alone is one round trip."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, text

from worker.db.engine import make_engine, reading, writing, writing_one

ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url)
    with writing(made) as connection:
        connection.execute(text("INSERT INTO duty (name, until) VALUES ('mine', 0)"))
    yield made
    made.dispose()


def until(engine: Engine) -> float:
    with reading(engine) as connection:
        return float(connection.execute(text("SELECT until FROM duty WHERE name = 'mine'")).scalar_one())


def status(connection: Connection) -> TransactionStatus:
    driver = connection.connection.driver_connection
    assert driver is not None
    found: TransactionStatus = driver.info.transaction_status
    return found


@ON_POSTGRESQL
def test_no_transaction_is_begun_for_statements_that_read(engine: Engine) -> None:
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))
        assert status(connection) is TransactionStatus.IDLE
    with writing(engine) as connection:
        connection.execute(text("SELECT 1"))
        assert status(connection) is TransactionStatus.INTRANS, "the next one has a transaction again"


def test_one_statement_that_writes_is_committed(engine: Engine) -> None:
    with writing_one(engine) as connection:
        connection.execute(text("UPDATE duty SET until = 1 WHERE name = 'mine'"))
    assert until(engine) == 1


def test_what_fails_within_a_transaction_takes_nothing_of_it_along(engine: Engine) -> None:
    def fail() -> None:
        with writing(engine) as connection:
            connection.execute(text("UPDATE duty SET until = 2 WHERE name = 'mine'"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert until(engine) == 0
