"""Accounts that hold the same refresh token are found through indexes, at any number of accounts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, text

from worker.db.accounts.stored import Accounts, blank
from worker.db.engine import is_sqlite, make_engine, reading, writing
from worker.db.fleet.twins import holders, holding, shared, shared_sql


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url)
    yield made
    made.dispose()


def test_of_many_accounts_alike_one_is_read(engine: Engine) -> None:
    alike = [blank(f"a{n}", provider="p", refresh_fp="x", source_fp="x") for n in range(5)]
    other = blank("b", provider="p", client_id="c", refresh_fp="y", source_fp="x")
    Accounts(engine).save([*alike, other])
    with reading(engine) as connection:
        found = {(fp, account.id) for fp, account in holders(connection, ["x", "y"], but=["a0"])}
    assert found == {("x", "a1"), ("x", "b"), ("y", "b")}


def test_an_account_is_no_twin_of_its_own(engine: Engine) -> None:
    one = blank("a", provider="p", refresh_fp="y", source_fp="x")
    Accounts(engine).save([one, blank("b", provider="p", refresh_fp="z", source_fp="y")])
    assert [found.id for found in holding(engine, one, limit=5)] == ["b"]
    assert shared(engine) == {}


def plan(connection: Connection, statement: str) -> str:
    sqlite = is_sqlite(connection.engine)
    if not sqlite:  # a table of a few rows is read as a whole otherwise
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
    return str(connection.execute(text(f"EXPLAIN {'QUERY PLAN ' if sqlite else ''}{statement}")).all())


@pytest.mark.parametrize("column", ["refresh_fp", "source_fp"])
def test_an_index_alone_answers_which_grants_are_shared(engine: Engine, column: str) -> None:
    with writing(engine) as connection:
        shown = plan(connection, shared_sql(column))
    assert any(
        f"{words} ix_account_{column}" in shown for words in ("USING COVERING INDEX", "Index Only Scan using")
    ), shown


def test_a_token_is_looked_up_by_its_index(engine: Engine) -> None:
    with writing(engine) as connection:
        shown = plan(
            connection,
            "SELECT id FROM account WHERE refresh_fp IN (SELECT value FROM json_each('[\"a\"]'))"
            if is_sqlite(connection.engine)
            else "SELECT id FROM account WHERE refresh_fp = ANY(ARRAY['a'])",
        )
    assert "ix_account_refresh_fp" in shown
