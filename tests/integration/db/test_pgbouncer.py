"""PostgreSQL through PgBouncer, in each of its modes and as its package configures it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.exc import DBAPIError

from models.tables.attempt import Outcome, Trigger
from tests.integration.accounts.test_grants import GrantDesk, grant
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from tests.support.pgbouncer import PgBouncer, pgbouncer
from tests.support.server_binaries import ServerMissing
from tests.support.services import PostgresServer
from worker.accounts.grants.replacement import StoredGrant
from worker.db.engine import make_engine, reading, writing
from worker.db.migrate import upgrade
from worker.db.postgresql.connections import is_pooled
from worker.diagnostics.doctor.stores import check_database
from worker.errors import DatabaseUnreachable
from worker.settings import Settings

_numbers = itertools.count()


@pytest.fixture(
    scope="module",
    params=[
        {"pool_mode": "session"},
        {"pool_mode": "transaction"},
        {"pool_mode": "transaction", "ignore_startup_parameters": "extra_float_digits,options"},
    ],
    ids=["session", "transaction", "options ignored"],
)
def pooler(request: pytest.FixtureRequest, postgres_service: PostgresServer) -> Iterator[PgBouncer]:
    try:
        with pgbouncer(postgres_service, **request.param) as server:
            yield server
    except ServerMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def database_url(pooler: PgBouncer, postgres_service: PostgresServer) -> Iterator[str]:
    name = f"pooled_{next(_numbers)}"
    postgres_service.create_database(name)
    url = pooler.url_of(name)
    upgrade(url)
    yield url
    postgres_service.drop_database(name)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url)
    yield made
    made.dispose()


def settings_of(engine: Engine) -> list[str]:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    with reading(engine) as connection:
        return [str(connection.execute(text(f"SHOW {name}")).scalar_one()) for name in names]


def run(engine: Engine, *statements: str) -> None:
    with writing(engine) as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_the_schema_is_made_through_it_and_again_changes_nothing(database_url: str) -> None:
    before, after = upgrade(database_url)
    assert before == after


def test_every_transaction_has_its_time_outs(engine: Engine) -> None:
    for _ in range(10):
        assert settings_of(engine) == ["1min", "30s", "10s"]


def test_a_statement_that_takes_too_long_ends(engine: Engine) -> None:
    with pytest.raises(DatabaseUnreachable, match="statement timeout"):
        run(engine, "SET LOCAL statement_timeout = '50ms'", "SELECT pg_sleep(20)")
    assert settings_of(engine)[0] == "1min", "the connection is good again"


def test_nothing_is_prepared_and_what_fails_is_rolled_back(engine: Engine) -> None:
    for number in range(20):
        with reading(engine) as connection:
            assert is_pooled(connection)
            assert connection.execute(text("SELECT :n + 1"), {"n": number}).scalar_one() == number + 1
            assert connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one() == 0
    with pytest.raises(DBAPIError):
        run(engine, "INSERT INTO duty (name, until) VALUES ('mine', 0)", "SELECT 1/0")
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM duty WHERE name = 'mine'")).scalar_one() == 0


@pytest.mark.parametrize("transaction", [reading, writing])
def test_a_session_that_was_ended_is_a_database_that_is_away_for_a_transaction_at_most(
    engine: Engine,
    database_url: str,
    postgres_service: PostgresServer,
    transaction: Callable[[Engine], AbstractContextManager[Connection]],
) -> None:
    """Under session pooling the client loses its connection too: its BEGIN is what finds that out."""
    run(engine, "SELECT 1")
    with psycopg.connect(postgres_service.url_of(make_url(database_url).database or "")) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with suppress(DatabaseUnreachable), transaction(engine) as connection:
        connection.execute(text("SELECT 1"))
    with transaction(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_accounts_are_refreshed_through_it(bench: Bench) -> None:
    ids = [f"acct-{number}" for number in range(30)]
    for account in ids:
        bench.add(account)
    bench.answer = granted

    for generation in (1, 2, 3):
        results = bench.refresh(*ids, seen=generation, trigger=Trigger.FORCED)
        assert {one.outcome for one in results.values()} == {Outcome.REFRESHED}
    assert [bench.account(account).generation for account in ids] == [4] * len(ids)


def test_grants_are_stored_through_it(bench: Bench) -> None:
    bench.add()

    for number in range(8):  # more often than psycopg takes to prepare a statement
        (found,) = GrantDesk(bench).store.store([grant(refresh_token=f"new-{number}")])
        assert isinstance(found, StoredGrant)

    assert bench.refresh_token() == "new-7"


def test_doctor_names_it(settings: Settings, bench: Bench) -> None:
    assert isinstance(settings.database_url, SecretStr)
    assert any("behind a connection pooler" in one.message for one in check_database(bench.runtime))


def test_a_connection_without_it_is_seen_as_one(postgres_url: str) -> None:
    straight = make_engine(postgres_url)
    with reading(straight) as connection:
        assert not is_pooled(connection)
    assert settings_of(straight) == ["1min", "30s", "10s"]
    straight.dispose()
