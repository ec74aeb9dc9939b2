"""Redis crashes, comes back empty, or falls silent: processes live on, work goes on, tokens come back by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.conftest import MakeWorld
from tests.support.fleet import Fleet
from tests.support.services import RedisServer, redis_server
from tests.support.silence import SilentProxy
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.redis.client import connect

ACCOUNTS: Final = [f"acct-{number}" for number in range(20)]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def world(make_world: MakeWorld, sqlite_url: str, own_redis: RedisServer) -> World:
    return make_world(sqlite_url, own_redis.url, requests_per_s="1000")


def test_a_crash_with_tasks_in_flight_ends_no_process_and_loses_no_answer(
    world: World, fleet: Fleet, own_redis: RedisServer
) -> None:
    """Celery 5.7.0 ends a worker here: this guards the repair in worker/broker/kombu.py."""
    world.add(ACCOUNTS)
    world.provider.answering.clear()
    worker, beat = fleet.worker().wait_ready(), fleet.beat().wait_ready()
    wait_until(lambda: set(world.provider.under_way) == set(ACCOUNTS), "every call under way")

    own_redis.kill()
    wait_until(lambda: "Connection to broker lost" in worker.said or not worker.alive, "the loss noticed")
    world.provider.answering.set()
    wait_until(lambda: world.all_refreshed(ACCOUNTS), "every answer stored without Redis")
    own_redis.start()

    wait_until(lambda: published(world, ACCOUNTS, generation=2), "every token published")
    world.add(["later"])
    wait_until(lambda: world.all_refreshed(["later"]), "work goes on")
    assert worker.alive
    assert beat.alive
    assert world.provider.refreshes == len(ACCOUNTS) + 1


def flushed(server: RedisServer) -> None:
    client = connect(server.url)
    client.flushall()
    client.close()


def replaced(server: RedisServer) -> None:
    server.kill()
    server.wipe()
    server.start()


@pytest.mark.parametrize("emptied", [flushed, replaced])
def test_an_emptied_redis_is_filled_again_without_a_refresh(
    emptied: Callable[[RedisServer], None], world: World, fleet: Fleet, own_redis: RedisServer
) -> None:
    not_due = world.stores.clock.now() + 3000
    world.add(ACCOUNTS, next_refresh_at=not_due, plan_at=not_due)
    fleet.worker()
    fleet.beat()
    wait_until(lambda: published(world, ACCOUNTS, generation=1), "every token published")

    emptied(own_redis)

    wait_until(lambda: published(world, ACCOUNTS, generation=1), "every token published again")
    assert world.provider.refreshes == 0


def test_accounts_whose_messages_went_with_redis_are_refreshed_at_once(
    world: World, fleet: Fleet, own_redis: RedisServer
) -> None:
    """A planner's claim outlives its message by far: here it must not be waited for."""
    world.add(ACCOUNTS)
    worker = fleet.worker().wait_ready()
    worker.pause()
    fleet.beat()
    wait_until(lambda: bool(world.stores.redis.exists("control")), "a plan on its way")
    world.stores.schedule.claim_due(100, hold_s=3600)
    flushed(own_redis)
    worker.resume()

    wait_until(lambda: world.all_refreshed(ACCOUNTS), "every account refreshed")


def test_a_connection_that_falls_silent_is_given_up(
    world: World, tmp_path: Path, own_redis: RedisServer
) -> None:
    """As behind a firewall that forgets connections: nobody says that the other side is gone."""
    with SilentProxy(own_redis.port) as proxy:
        direct = f":{own_redis.port}/"
        environment = world.environment | {
            "REFRESHD_REDIS_URL": own_redis.url.replace(direct, f":{proxy.port}/")
        }
        with Fleet(environment, tmp_path) as fleet:
            worker, beat = fleet.worker().wait_ready(), fleet.beat().wait_ready()
            world.add(ACCOUNTS)
            wait_until(lambda: published(world, ACCOUNTS, generation=2), "work before")

            proxy.freeze()

            world.add(["later"])
            wait_until(lambda: published(world, ["later"], generation=2), "work after")
            assert worker.alive
            assert beat.alive


def published(world: World, accounts: list[str], *, generation: int) -> bool:
    """Return whether a connector finds this generation of every account."""
    tokens = [world.token(account) for account in accounts]
    return all(token is not None and token.generation == generation for token in tokens)
