"""Reconcile fills an emptied Redis from SQL, a batch after another."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from models.publication import Publication
from models.tables.account import Account
from tests.integration.conftest import Bench
from worker.errors import DatabaseUnreachable
from worker.scheduling.reconciler import Reconciled

ACCOUNTS = 7
#: Turns of the event loop in which a thread has ended a statement many times.
SPINS = 20_000
#: Sealed with a key that nobody has.
UNREADABLE = "v1.gone.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def test_every_batch_is_published_and_what_does_not_open_is_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.scheduling.reconciler.BATCH", 2)
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


def test_a_filling_that_breaks_off_ends_its_last_batch_before_it_releases_its_lock(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next holder of the lock would have a batch of this pass beside its own."""
    monkeypatch.setattr("worker.scheduling.reconciler.BATCH", 1)
    bench.add("a-0")
    bench.add("a-1")
    reconciler: Any = bench.runtime.reconciler
    batches, order = itertools.count(), list[str]()

    async def publish(accounts: Sequence[Account]) -> int:
        if not accounts:
            return 0
        try:
            await asyncio.Event().wait()
        finally:
            # It takes its time to end: as long as anybody who did not wait for it needs to release the lock.
            for _ in range(SPINS):
                if order:
                    break
                await asyncio.sleep(0)
            order.append("batch")
        return len(accounts)

    async def live_accounts(*_: object) -> list[Account]:
        if next(batches):
            raise DatabaseUnreachable("away")
        return [bench.account("a-0")]

    async def release(**_: object) -> None:
        order.append("lock")

    monkeypatch.setattr(reconciler, "_publish", publish)
    monkeypatch.setattr(reconciler._store, "live_accounts", live_accounts)
    monkeypatch.setattr(reconciler._lock, "_release", release)

    with pytest.raises(DatabaseUnreachable):
        bench.runtime.run(reconciler.reconcile())

    assert order == ["batch", "lock"]


def test_a_redis_that_is_emptied_while_it_is_filled_is_filled_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add(published_generation=1)
    put = bench.runtime.publisher.put

    async def emptied(publications: Sequence[Publication]) -> dict[str, int]:
        found = await put(publications)
        await bench.runtime.async_redis.flushdb()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(bench.runtime.publisher, "put", emptied)
        bench.runtime.run(bench.runtime.reconciler.reconcile())
    assert bench.runtime.run(bench.runtime.reconciler.needed())
    bench.runtime.run(bench.runtime.reconciler.reconcile())
    assert bench.token() is not None


def _catch_up(bench: Bench) -> Reconciled:
    done = bench.runtime.run(bench.runtime.reconciler.reconcile())
    assert done is not None
    return done


@pytest.fixture
def filled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return a bench whose Redis was filled before, and whose reconciler reads two accounts at a time."""
    monkeypatch.setattr("worker.scheduling.reconciler.BATCH", 2)
    bench.runtime.run(bench.runtime.reconciler.reconcile())
    return bench


@pytest.mark.parametrize("end", [9e9, None], ids=["an end", "no end"])
def test_accounts_whose_key_is_missing_hold_up_no_publication(filled: Bench, end: float | None) -> None:
    for number in range(4):
        ends = 1.0 if number < 3 else None
        filled.add(f"bad-{number}", access_token_sealed=UNREADABLE, expires_at=ends, published_generation=-1)
    filled.add("healthy", expires_at=end, published_generation=-1)

    assert _catch_up(filled) == Reconciled(published=1, unreadable=4)
    assert filled.token("healthy") is not None
    assert _catch_up(filled).unreadable == 4, "they are tried again: their key may be back"


def test_a_pass_that_met_many_unreadable_accounts_leaves_the_rest_to_the_next(
    filled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.scheduling.reconciler.UNREADABLE_MAX", 2)
    for number in range(3):
        filled.add(f"bad-{number}", access_token_sealed=UNREADABLE, expires_at=1.0, published_generation=-1)
    filled.add("healthy", published_generation=-1)

    assert _catch_up(filled) == Reconciled(unreadable=2)
    assert _catch_up(filled) == Reconciled(published=1, unreadable=1)
    assert _catch_up(filled) == Reconciled(unreadable=2), "from the front again"
