"""A worker stopped for longer than its claims and then continued: it overwrites nothing newer, and sends nothing late."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.e2e.conftest import MakeWorld
from tests.support.door import Door
from tests.support.fleet import Fleet
from tests.support.waiting import PATIENCE_S, wait_until

ACCOUNTS: Final = [f"acct-{number}" for number in range(120)]
FEW: Final = ACCOUNTS[:5]
SHORT_CLAIMS: Final = {"call_timeout_s": "2", "claim_s": "12", "requests_per_s": "1000"}


@contextmanager
def nobody_writing(sqlite_url: str) -> Iterator[None]:
    """Hold the write lock of a SQLite database."""
    connection = sqlite3.connect(
        sqlite_url.removeprefix("sqlite:///"), timeout=PATIENCE_S, isolation_level=None
    )
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_what_arrived_late_overwrites_nothing(
    make_world: MakeWorld, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Another worker replays within the provider's grace and goes on; then the first one wakes up."""
    world = make_world(postgres_url, redis_url, **SHORT_CLAIMS)
    world.add(["acct"], grace_s=3600)
    world.provider.answering.clear()
    with Fleet(world.environment, tmp_path) as fleet:
        fleet.beat()
        paused = fleet.worker("paused").wait_ready()
        wait_until(lambda: world.provider.under_way == ["acct"], "the call under way")
        paused.pause()
        world.provider.answering.set()
        fleet.worker("awake").wait_ready()
        wait_until(lambda: world.all_refreshed(["acct"]), "the replay stored")
        world.push([("acct", 2)])
        wait_until(lambda: world.all_refreshed(["acct"], beyond=2), "the next generation stored")

        paused.resume()
        paused.terminate()
        paused.wait_ended(30)

    assert world.account("acct").generation == 3
    assert world.agrees_with_the_provider("acct")
    assert world.provider.overlaps == 0
    assert all(attempt.closed_at is not None for attempt in world.attempts("acct"))


def test_nothing_is_sent_after_its_time(
    make_world: MakeWorld, sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Stopped while it waits for connections: when they stand, others have refreshed, and its time is over."""
    world = make_world(sqlite_url, redis_url, **SHORT_CLAIMS)
    with Door(world.provider.port) as door, Fleet(world.environment, tmp_path) as fleet:
        world.add(FEW, token_url=f"http://127.0.0.1:{door.port}/token")
        fleet.beat()
        paused = fleet.worker("paused").wait_ready()
        wait_until(lambda: all(map(world.attempts, FEW)), "every attempt open")
        with nobody_writing(sqlite_url):  # else it may hold SQLite's one write lock while it is stopped
            paused.pause()
        assert not any(grant.calls for grant in world.provider.grants.values())
        door.open()
        fleet.worker("awake").wait_ready()
        wait_until(lambda: world.all_refreshed(FEW), "every account refreshed by the other")

        paused.resume()
        paused.terminate()
        paused.wait_ended(30)

        assert [len(world.provider.grants[account].calls) for account in FEW] == [1] * len(FEW)
        assert world.generations() == dict.fromkeys(FEW, 2)
        assert all(map(world.agrees_with_the_provider, FEW))


def test_answers_that_arrived_during_a_short_stop_are_stored(
    make_world: MakeWorld, sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Longer than the call's time, shorter than the claim: nobody else called, so the answer still counts."""
    world = make_world(sqlite_url, redis_url, call_timeout_s="1", claim_s="60", requests_per_s="1000")
    world.add(ACCOUNTS)
    world.provider.answering.clear()
    with Fleet(world.environment, tmp_path) as fleet:
        fleet.beat()
        paused = fleet.worker("paused").wait_ready()
        wait_until(lambda: bool(world.provider.under_way), "calls under way")
        paused.pause()
        called = world.provider.under_way
        world.provider.answering.set()
        wait_until(lambda: not world.provider.under_way, "every answer given")
        wait_until(lambda: world.stores.clock.now() > max(
            attempt.opened_at for account in called for attempt in world.attempts(account)
        ) + 2, "the calls' time over")  # fmt: skip
        paused.resume()
        wait_until(lambda: world.all_refreshed(called), "every answer stored")

    assert [world.provider.grants[account].refreshes for account in called] == [1] * len(called)
    assert world.provider.reuses == 0
