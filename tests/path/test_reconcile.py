"""Reconcile fills an emptied Redis from SQL, a batch after another."""

from __future__ import annotations

import pytest

from tests.path.conftest import Bench
from worker.reconcile import Reconciled

ACCOUNTS = 7
#: Sealed with a key that nobody has.
UNREADABLE = "v1.gone.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def test_every_batch_is_published_and_what_does_not_open_is_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.reconcile.BATCH", 2)
    for number in range(ACCOUNTS):
        bench.add(f"a-{number}", published_generation=1)
    bench.add("endless", published_generation=1, expires_at=None)
    bench.add("unreadable", access_token_sealed=UNREADABLE)
    bench.runtime.redis.flushdb()

    done = bench.runtime.run(bench.runtime.reconciler.reconcile())

    assert done == Reconciled(published=ACCOUNTS + 1, unreadable=1, refilled=True)
    readable = [*(f"a-{number}" for number in range(ACCOUNTS)), "endless"]
    tokens = [bench.runtime.redis.hget(bench.runtime.keys.token(name), "access_token") for name in readable]
    assert tokens == ["old-access"] * len(readable)
    assert not bench.runtime.redis.exists(bench.runtime.keys.token("unreadable"))
    assert not bench.requests, "nothing is refreshed"


def test_a_database_without_accounts_fills_nothing_and_is_done(bench: Bench) -> None:
    assert bench.runtime.run(bench.runtime.reconciler.reconcile()) == Reconciled(refilled=True)
    assert not bench.runtime.run(bench.runtime.reconciler.needed())
