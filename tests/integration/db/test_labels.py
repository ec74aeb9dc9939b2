"""Labels in the database: accounts are found by all of theirs, and a process of the release before goes on beside them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, text

from models.label import write_labels
from models.pause_scope import Scope
from models.tables.account import Account
from models.tables.audit import Actor
from worker.db.accounts.filter import Filter
from worker.db.accounts.stored import Accounts, Change, blank
from worker.db.engine import reading, writing
from worker.db.fleet.counts import look
from worker.db.fleet.labelled import look_at
from worker.db.planning.pauses import Pauses


def new(account_id: str, labels: dict[str, str], **columns: Any) -> Account:
    return blank(account_id, **{"provider": "acme", "labels": write_labels(labels), **columns})


def found(accounts: Accounts, **labels: str) -> list[str]:
    return [account.id for account in accounts.all(Filter(labels=labels))]


def index(engine: Engine) -> list[tuple[Any, ...]]:
    with reading(engine) as connection:
        rows = connection.execute(text("SELECT account_id, name, value FROM account_label ORDER BY 1, 2"))
        return [tuple(row) for row in rows]


def test_accounts_are_found_that_have_every_label(accounts: Accounts) -> None:
    accounts.save(
        [
            new("a", {"tenant": "acme", "stage": "live"}),
            new("b", {"tenant": "acme"}),
            new("c", {"tenant": "beta", "stage": "live"}),
            new("d", {}),
        ]
    )
    assert found(accounts, tenant="acme") == ["a", "b"]
    assert found(accounts, tenant="acme", stage="live") == ["a"]
    assert found(accounts, tenant="nobody") == []
    assert accounts.count(Filter(labels={"stage": "live"})) == 2
    assert accounts.find(["a"])["a"].label_set == {"tenant": "acme", "stage": "live"}


def test_the_numbers_of_a_label_are_those_of_its_accounts_and_a_pause_is_no_delay(
    engine: Engine, accounts: Accounts
) -> None:
    labels = {"tenant": "acme", "stage": "live"}
    accounts.save(
        [
            new("late", labels, next_refresh_at=5.0, plan_at=5.0),
            new("failing", labels, status="reauthorize", reason="invalid_grant"),
            new("well", labels, next_refresh_at=9e9, plan_at=9e9, expires_at=9e9),
            new("half", {"tenant": "acme"}, next_refresh_at=5.0, plan_at=5.0),
        ]
    )
    seen = look_at(engine, labels)
    assert (seen.accounts, seen.overdue, seen.oldest_due_at, seen.paused) == (3, 1, 5.0, 0)
    assert seen.failing == {("acme", "reauthorize", "invalid_grant"): 1}
    assert seen.soonest == (("well", 9e9),)
    Pauses(engine).pause(Scope.LABEL, ["stage=live"], for_s=None, reason="", actor=Actor("mia", "desk"))
    paused = look_at(engine, labels)
    assert (paused.overdue, paused.oldest_due_at, paused.paused) == (0, None, 1)
    assert look(engine).pauses == {("label",): 1}


def test_a_change_takes_the_place_of_the_labels_before(engine: Engine, accounts: Accounts) -> None:
    accounts.save([new("a", {"tenant": "acme", "stage": "live"})])
    accounts.save([], [Change(new("a", {"tenant": "beta"}), 0, 1)])
    assert index(engine) == [("a", "tenant", "beta")]


def test_a_change_that_is_refused_leaves_the_index_alone(engine: Engine, accounts: Accounts) -> None:
    accounts.save([new("a", {"tenant": "acme"})])
    assert accounts.save([], [Change(new("a", {"tenant": "beta"}), 7, 7)]) == set()
    assert index(engine) == [("a", "tenant", "acme")]


def test_a_removed_account_leaves_the_index(engine: Engine, accounts: Accounts) -> None:
    accounts.save([new("a", {"tenant": "acme"}), new("b", {"tenant": "acme"})])
    accounts.remove(["a"])
    assert index(engine) == [("b", "tenant", "acme")]


def test_an_id_that_an_older_process_removed_has_none_of_its_old_labels(
    engine: Engine, accounts: Accounts
) -> None:
    accounts.save([new("a", {"tenant": "acme"})])
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM account WHERE id = 'a'"))
    assert found(accounts, tenant="acme") == []
    accounts.save([new("a", {})])
    assert found(accounts, tenant="acme") == []


def test_a_process_of_the_release_before_stores_accounts_and_events_on_the_new_schema(
    engine: Engine, accounts: Accounts
) -> None:
    since = {"labels", "client"}
    columns = [column for column in Account.__table__.columns if column.name not in since]  # type: ignore[attr-defined]
    account = blank("old", provider="acme")
    with writing(engine) as connection:
        names = ", ".join(column.name for column in columns)
        values = ", ".join(f":{column.name}" for column in columns)
        row = {column.name: getattr(account, column.name) for column in columns}
        connection.execute(text(f"INSERT INTO account ({names}) VALUES ({values})"), row)  # noqa: S608  (names of columns)
        connection.execute(
            text(
                "INSERT INTO outbox (id, type, account, provider, client, reason, at) "
                "VALUES ('1', 'degraded', 'old', 'acme', '', 'timeout', 1)"
            )
        )
    stored = accounts.find(["old"])["old"]
    assert (stored.label_set, stored.client) == ({}, None)
