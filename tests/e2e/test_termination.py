"""SIGTERM during calls: no new work, every answer stored, an end within the grace period."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from tests.support.fleet import Fleet
from tests.support.providers.grants import refresh_token
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.crypto.intake import IntakeSealer
from worker.intake.client import IntakeClient
from worker.intake.requests import Code, Op, Reply
from worker.redis.client import connect_async

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


def verified(world: World, account: str) -> Reply:
    """Ask a worker to store the account's grant once it has been tried, as the API does."""

    async def ask() -> Reply:
        redis = connect_async(world.stores.settings.redis)
        client = IntakeClient(
            redis=redis,
            prefix=world.stores.settings.redis_prefix,
            sealer=IntakeSealer.of(world.stores.cipher.intake_key),
            send=lambda sealed, request_id: world.send(
                "refreshd.intake", {"request": sealed, "request_id": request_id}, "urgent"
            ),
        )
        fields = {"access_token": "given", "refresh_token": refresh_token(account, 0)}
        try:
            return await client.ask(
                Op.VERIFY_GRANT,
                actor="platform",
                require_labels={},
                payload={"account": account, "fields": fields},
                timeout_s=60,
            )
        finally:
            await redis.aclose()

    return asyncio.run(ask())


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_request_that_waits_for_a_provider_is_answered(pool: str, world: World, fleet: Fleet) -> None:
    world.add(["acct"], next_refresh_at=None, plan_at=None)
    world.provider.answering.clear()
    worker = fleet.worker(pool=pool, concurrency=2).wait_ready()
    with ThreadPoolExecutor(1) as customer:
        asked = customer.submit(verified, world, "acct")
        wait_until(lambda: world.provider.under_way == ["acct"] or asked.done(), "a call under way")
        worker.terminate()
        wait_until(lambda: "Warm shutdown" in worker.said, "the signal received")
        world.provider.answering.set()
        assert worker.wait_ended(GRACE_PERIOD_S) == 0
        assert asked.result(60).code is Code.DONE
    assert world.agrees_with_the_provider("acct")
