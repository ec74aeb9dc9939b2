"""Rows that pass every check and that the database refuses: each alone, and those beside it are stored."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from tests.integration.accounts.conftest import Ran, Refreshd, acme
from tests.support.services import PostgresServer
from worker.accounts.values import CALLBACK_MAX
from worker.db.engine import make_engine, writing
from worker.db.migrate import upgrade

Write = Callable[..., Path]


def run(url: str, *statements: str) -> None:
    engine = make_engine(url)
    with writing(engine) as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def ids(refreshd: Refreshd) -> list[str]:
    return [one["id"] for one in refreshd("accounts", "list", "--json").lines]


def errors(ran: Ran) -> list[tuple[int, str, str]]:
    return [(one["line"], one["account"], one["field"]) for one in ran.json["errors"]]


def test_a_row_that_the_database_refuses_keeps_no_other_from_being_stored(
    refreshd: Refreshd, database_url: str, file: Write
) -> None:
    """New accounts and changed ones, in one commit with the rows that are refused."""
    assert refreshd("accounts", "import", str(file(acme("a-3"), acme("a-4")))).exit_code == 0
    run(database_url, "CREATE UNIQUE INDEX refuses ON account (scope)")
    scopes = {1: "same", 3: "new", 4: "same", 6: "same"}
    path = file(*(acme(f"a-{number}", scope=scopes.get(number, f"s{number}")) for number in range(8)))

    ran = refreshd("accounts", "import", str(path), "--json")

    assert ran.exit_code == 1
    assert (ran.json["added"], ran.json["changed"], ran.json["failed"]) == (5, 1, 2)
    assert errors(ran) == [(5, "a-4", "row"), (7, "a-6", "row")]
    reason = ran.json["errors"][0]["reason"]
    assert reason.startswith("the database can't store one of its values (")
    assert reason.endswith("): correct or shorten that value")
    assert ids(refreshd) == [f"a-{number}" for number in range(8) if number != 6]
    entry = next(one for one in refreshd("audit", "--json").lines if one["detail"].get("changed"))
    assert (entry["detail"]["added"], entry["detail"]["changed"], entry["detail"]["failed"]) == (5, 1, 2)


@pytest.fixture
def latin_url(postgres_service: PostgresServer) -> Iterator[str]:
    """A database that is not in UTF8, as an operator may have made it."""
    postgres_service.drop_database("latin")
    with psycopg.connect(postgres_service.url, autocommit=True) as connection:
        connection.execute(
            "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    url = postgres_service.url_of("latin")
    upgrade(url)
    yield url
    postgres_service.drop_database("latin")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_character_that_the_databases_encoding_lacks_is_an_error_of_its_row(
    refreshd: Refreshd, latin_url: str, file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFRESHD_DATABASE_URL", latin_url)
    ran = refreshd("accounts", "import", str(file(acme("a"), acme("b", scope="日本"), acme("c"))), "--json")
    assert errors(ran) == [(2, "b", "row")]
    assert 'no equivalent in encoding "LATIN1"' in ran.json["errors"][0]["reason"]
    assert ids(refreshd) == ["a", "c"]
    changed = refreshd("accounts", "edit", "a", "scope=日本")
    assert changed.exit_code == 1
    assert "error: the database can't store one of its values" in changed.stderr


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_value_that_an_operators_index_does_not_take_is_no_database_that_is_away(
    refreshd: Refreshd, database_url: str, file: Write
) -> None:
    run(database_url, "CREATE INDEX operators ON account (scope)")
    rows = (acme("a"), acme("b", scope=secrets.token_hex(20_000)), acme("c"))
    ran = refreshd("accounts", "import", str(file(*rows)), "--json")
    assert (ran.exit_code, errors(ran)) == (1, [(2, "b", "row")])
    assert "maximum size" in ran.json["errors"][0]["reason"]
    assert ids(refreshd) == ["a", "c"]


def test_a_callbacks_name_that_no_index_takes_is_an_error_of_its_field(
    refreshd: Refreshd, file: Write
) -> None:
    """PostgreSQL refused it, as a database that is away."""
    names = {"a": "\U0001f600" * CALLBACK_MAX, "b": "x" * (CALLBACK_MAX + 1)}
    rows = (acme(one, refresh_method="callback", callback=name) for one, name in names.items())
    ran = refreshd("accounts", "import", str(file(*rows)), "--json")
    assert errors(ran) == [(2, "b", "callback")]
    assert ids(refreshd) == ["a"]
