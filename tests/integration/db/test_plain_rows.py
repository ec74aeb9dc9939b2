"""Rows as plain objects have what the tables' own models read."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Boolean, Engine
from sqlmodel import Session, SQLModel, select

from models.pause_scope import PauseEntry
from models.tables.account import Account
from models.tables.pause import LabelPause, Pause
from worker.db.accounts import columns as account_columns
from worker.db.accounts.rows import find_accounts
from worker.db.accounts.stored import Accounts
from worker.db.engine import reading
from worker.db.planning import label_pauses


@pytest.mark.parametrize(
    ("table", "named"),
    [
        (Account, account_columns.BOOLEANS),
        (Pause, label_pauses.BOOLEANS),
        (LabelPause, label_pauses.BOOLEANS),
    ],
)
def test_booleans_are_named(table: type[SQLModel], named: tuple[str, ...]) -> None:
    columns: Any = table.__table__.columns  # type: ignore[attr-defined]
    assert {one.name for one in columns if isinstance(one.type, Boolean)} == set(named)


#: What PostgreSQL calls the types of the table.
KINDS = {
    "VARCHAR": "text",
    "TEXT": "text",
    "FLOAT": "double precision",
    "BOOLEAN": "boolean",
    "INTEGER": "integer",
}


def test_the_columns_of_an_account_are_those_of_its_table() -> None:
    columns: Any = Account.__table__.columns  # type: ignore[attr-defined]
    kinds = {one.name: KINDS[str(one.type).partition("(")[0]] for one in columns}
    assert list(account_columns.TYPES.items()) == list(kinds.items())
    assert {one.name for one in columns if one.nullable} == account_columns.NULLABLE
    fields = Account.model_fields.items()
    assert {
        name: one.get_default() for name, one in fields if not one.is_required()
    } == account_columns.DEFAULTS


def test_a_pause_has_the_columns_of_its_table() -> None:
    entry = PauseEntry(scope="all", name="", paused_at=0.0, actor="", host="")
    assert set(vars(entry)) == set(Pause.model_fields)


def test_an_account_is_read_as_its_model_reads_it(engine: Engine) -> None:
    Accounts(engine).save(
        [Account(id="one", provider="acme", labels='{"tenant": "a"}'), Account(id="two", provider="acme")]
    )
    found = find_accounts(engine, ["one", "two", "three"])
    with reading(engine) as connection, Session(connection) as session:
        stored = {one.id: one.model_dump() for one in session.exec(select(Account))}
    assert {name: vars(one) for name, one in found.items()} == stored
    assert all(type(one.refresh_enabled) is bool for one in found.values())
