"""The SQL of accounts, on SQLite and PostgreSQL: whole batches, and never over a newer generation."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from models.tables.account import Account, RetiredAccount, Status
from models.tables.attempt import Attempt
from worker.db.accounts.filter import Filter
from worker.db.accounts.stored import PAGE, Accounts, Change, blank
from worker.db.engine import reading, writing


def new(account_id: str, **columns: Any) -> Account:
    return blank(account_id, **{"provider": "acme", "generation": 1, "status": "active", **columns})


def test_a_blank_account_has_every_default() -> None:
    made, ours = Account(id="a", provider="p"), blank("a", provider="p")
    assert {name: getattr(ours, name) for name in Account.model_fields} == {
        name: getattr(made, name) for name in Account.model_fields
    }


def test_every_column_comes_back_as_it_was_stored(accounts: Accounts) -> None:
    one = new(
        "a",
        refresh_enabled=False,
        scope="ä \N{GRINNING FACE} \"'\\",
        knobs='{"x": [1]}',
        issued_at=1790000000.123456,
        session_timeout_s=90.5,
    )
    assert accounts.save([one]) == {"a"}
    found = accounts.find(["a", "b"])["a"]
    assert {name: getattr(found, name) for name in Account.model_fields} == {
        name: getattr(one, name) for name in Account.model_fields
    }


def test_what_new_accounts_share_and_what_they_do_not_comes_back_as_it_was_stored(accounts: Accounts) -> None:
    shared = {"refresh_enabled": False, "scope": "ä \N{GRINNING FACE} %s :x '", "issued_at": 1790000000.5}
    many = [new(name, **shared, session_timeout_s=at, client_id=name) for at, name in enumerate("abc", 1)]
    many[0].client_id = None

    assert accounts.save(many) == {"a", "b", "c"}

    found = accounts.find(["a", "b", "c"])
    for one in many:
        assert {name: getattr(found[one.id], name) for name in Account.model_fields} == {
            name: getattr(one, name) for name in Account.model_fields
        }
    there, retired = accounts.find_or_retired(["a", "none"])
    assert ({name: vars(one) for name, one in there.items()}, retired) == ({"a": vars(found["a"])}, {})


def test_new_accounts_whose_labels_cannot_be_written_are_not_stored(
    accounts: Accounts, engine: Engine
) -> None:
    with writing(engine) as connection:
        connection.execute(text("DROP TABLE account_label"))
    with pytest.raises((DBAPIError, sqlite3.OperationalError)):
        accounts.save([new("a", labels='{"tenant": "acme"}'), new("b")])
    assert accounts.find(["a", "b"]) == {}


def test_an_id_that_is_taken_is_not_stored_again(accounts: Accounts) -> None:
    accounts.save([new("a", provider="first")])
    assert accounts.save([new("a", provider="second"), new("b")]) == {"b"}
    assert accounts.find(["a"])["a"].provider == "first"


@pytest.mark.parametrize(("seen_generation", "seen_config"), [(1, 2), (2, 1)])
def test_a_row_that_has_moved_on_is_left_alone(
    accounts: Accounts, seen_generation: int, seen_config: int
) -> None:
    accounts.save([new("a", generation=2, config_version=2, scope="stored")])
    change = Change(new("a", generation=3, config_version=2, scope="late"), seen_generation, seen_config)
    assert accounts.save([], [change]) == set()
    assert accounts.find(["a"])["a"].scope == "stored"


def test_a_change_leaves_the_workers_columns_alone(engine: Engine, accounts: Accounts) -> None:
    accounts.save([new("a", created_at=5.0)])
    with writing(engine) as connection:
        connection.execute(text("UPDATE account SET claim_attempt = 'x', claim_until = 9, kept_sealed = 'k'"))
    assert accounts.save([], [Change(new("a", config_version=2, created_at=6.0), 1, 1)]) == {"a"}
    after = accounts.find(["a"])["a"]
    assert (after.claim_attempt, after.claim_until, after.kept_sealed) == ("x", 9, "k")
    assert (after.created_at, after.config_version) == (5.0, 2)
    assert after.published_generation == -1  # the reconciler publishes it where this command can't


def test_new_tokens_forget_the_answer_that_was_kept_for_the_old_ones(
    engine: Engine, accounts: Accounts
) -> None:
    accounts.save([new("a")])
    with writing(engine) as connection:
        connection.execute(text("UPDATE account SET kept_sealed = 'k'"))
    accounts.save([], [Change(new("a", generation=2), 1, 1)])
    assert accounts.find(["a"])["a"].kept_sealed == "k", "an access token alone"
    accounts.save([], [Change(new("a", generation=3, refresh_fp="new"), 2, 1)])
    assert accounts.find(["a"])["a"].kept_sealed is None


def test_a_removed_account_leaves_its_generation_behind(engine: Engine, accounts: Accounts) -> None:
    accounts.save([new("a", generation=7), new("b")])
    assert accounts.remove(["a", "nobody"]) == {"a": 8}
    assert accounts.retired(["a", "b"]) == {"a": 8}
    assert accounts.find_or_retired(["a", "b"])[1] == {"a": 8}
    accounts.save([new("a", generation=9)])
    assert accounts.retired(["a"]) == {}
    assert accounts.remove(["a"]) == {"a": 10}
    assert accounts.retired(["a"]) == {"a": 10}
    with reading(engine) as connection, Session(connection) as session:
        assert session.get(RetiredAccount, "b") is None


def test_history_tells_which_tokens_an_account_once_held(engine: Engine, accounts: Accounts) -> None:
    with writing(engine) as connection, Session(connection) as session:
        for number, (account, sent, received) in enumerate(
            [("a", "one", "two"), ("a", "two", None), ("b", "other", None)]
        ):
            session.add(
                Attempt(
                    id=str(number),
                    account_id=account,
                    trigger="planned",
                    opened_at=1.0,
                    generation=1,
                    config_version=1,
                    refresh_fp=sent,
                    received_fp=received,
                )
            )
        session.flush()
    asked = [("a", "two"), ("b", "one"), ("c", "other")]
    assert accounts.once_held(asked) == {"a"}
    assert accounts.once_held([]) == set()


def test_only_the_source_is_noted(accounts: Accounts) -> None:
    accounts.save([new("a", source_fp="old", scope="stays")])
    accounts.note_source([Change(new("a", source_fp="new", scope="goes"), 1, 1)])
    after = accounts.find(["a"])["a"]
    assert (after.source_fp, after.scope, after.config_version) == ("new", "stays", 1)


def test_all_are_given_in_order_page_by_page_and_filtered(accounts: Accounts) -> None:
    status = [Status.ACTIVE.value, Status.REAUTHORIZE.value]
    batch = [new(f"a-{n:05}", status=status[n % 2], provider=f"p{n % 3}") for n in range(PAGE + 6)]
    accounts.save(batch)
    assert [one.id for one in accounts.all()] == [one.id for one in batch]
    assert len(list(accounts.all(limit=PAGE + 2))) == PAGE + 2
    assert [one.id for one in accounts.all(limit=2)] == ["a-00000", "a-00001"]
    wanted = Filter(status="reauthorize", provider="p0")
    assert accounts.count(wanted) == len(list(accounts.all(wanted))) == 168
    assert accounts.count(Filter(refresh_method="callback")) == 0
    assert accounts.count() == PAGE + 6
