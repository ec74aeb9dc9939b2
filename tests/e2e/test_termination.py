"""SIGTERM during calls: no new work, every answer stored, an end within the grace period."""

from __future__ import annotations

from typing import Final

import pytest

from tests.support.fleet import Fleet
from tests.support.waiting import wait_until
from tests.support.world import World

ACCOUNTS: Final = [f"acct-{number}" for number in range(20)]
#: compose.yaml gives a worker more (the call's time-out and 15 s).
GRACE_PERIOD_S: Final = 45.0


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_calls_under_way_are_stored_and_published(pool: str, world: World, fleet: Fleet) -> None:
    world.add(ACCOUNTS)
    world.provider.answering.clear()
    worker = fleet.worker(pool=pool, concurrency=2).wait_ready()
    world.plan()
    wait_until(lambda: set(world.provider.under_way) == set(ACCOUNTS), "every call under way")

    worker.terminate()
    world.add(["later"])
    world.plan()
    wait_until(lambda: "Warm shutdown" in worker.said, "the signal received")
    world.provider.answering.set()

    assert worker.wait_ended(GRACE_PERIOD_S) == 0
    assert world.all_refreshed(ACCOUNTS)
    for account in ACCOUNTS:
        token = world.token(account)
        assert token is not None
        assert token.generation == 2
        assert not world.stores.redis.exists(world.stores.keys.lock(account))
    assert world.account("later").generation == 1
    assert world.stores.redis.llen("control") > 0
    assert "Traceback" not in worker.said
