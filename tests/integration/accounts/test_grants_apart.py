"""Grants that share a commit: one that no row can hold keeps no other from being stored."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, text

from tests.integration.accounts.test_grants import GrantDesk, grant
from tests.integration.conftest import Bench
from tests.integration.refresh.test_unforeseen import unique
from worker.accounts.grants.replacement import Grant, GrantStore, StoredGrant
from worker.accounts.grants.service import TakenGrant

NAMES = ("first", "same", "other")


def test_grant_that_the_database_refuses_keeps_no_other_from_its_commit(bench: Bench) -> None:
    for one in NAMES:
        bench.add(one, refresh_token=one)
    desk = GrantDesk(bench)
    scopes = {"first": "s", "same": "s", "other": "t"}
    with unique(bench, "account", "scope"):
        found = desk.store.store(
            [grant(one, refresh_token=f"new-{one}", scope=scopes[one]) for one in NAMES],
            published=[("first", 1)],
        )
    assert [isinstance(one, StoredGrant) for one in found] == [True, False, True]
    assert [bench.account(one).generation for one in NAMES] == [2, 1, 2]


def test_grant_that_raises_is_answered_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in NAMES:
        bench.add(one, refresh_token=one)
    granted = GrantStore._granted

    def raising(self: GrantStore, one: Any, given: Grant, **more: Any) -> object:
        if given.account == "same":
            raise LookupError("a bug of ours")
        return granted(self, one, given, **more)

    monkeypatch.setattr(GrantStore, "_granted", raising)
    found = GrantDesk(bench).put(*(grant(one, refresh_token=f"new-{one}") for one in NAMES))
    assert [isinstance(one, TakenGrant) for one in found] == [True, False, True]
    assert "a bug" not in str(found[1])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_grants_read_no_table_from_end_to_end(bench: Bench) -> None:
    for number in range(20):  # a small table, which PostgreSQL likes to read whole
        bench.add(f"other-{number}")
    bench.add("acct")
    store, scans = GrantDesk(bench).store, list[int]()

    def look(connection: Connection, *_: object) -> None:
        found = connection.execute(
            text("SELECT sum(seq_scan) FROM pg_stat_xact_user_tables WHERE relname IN ('account', 'audit')")
        )
        scans.append(int(found.scalar_one()))

    for number in range(8):  # more often than a plan of its own is made for each
        seen = replace(grant("acct", refresh_token=f"new-{number}"), also=look)
        assert isinstance(store.store_one(seen), StoredGrant)
    assert scans == [0] * 8
