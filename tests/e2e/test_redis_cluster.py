"""Tokens in a Redis Cluster, tasks in a single Redis: a slot moves and a primary is killed under load."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from refreshd_reader import Keys
from tests.e2e.conftest import MakeWorld
from tests.support.clusters import RedisCluster, redis_cluster
from tests.support.fleet import Fleet
from tests.support.reads import Reads
from tests.support.waiting import wait_until
from tests.support.world import World

#: One kill in CI, and more where a person has the time: the figures are in docs/decisions/0040-redis-cluster.md.
KILLS: Final = int(os.environ.get("REFRESHD_TEST_KILLS", "1"))
ACCOUNTS: Final = [f"acct-{number}" for number in range(int(os.environ.get("REFRESHD_TEST_ACCOUNTS", "40")))]
SESSION_S: Final = 3.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    with redis_cluster(tmp_path / "cluster") as made:
        yield made


@pytest.fixture
def world(make_world: MakeWorld, sqlite_url: str, redis_url: str, cluster: RedisCluster) -> World:
    return make_world(sqlite_url, cluster.url, requests_per_s="1000", broker_url=redis_url)


def test_a_slot_that_moves_and_a_killed_primary_cost_no_token_and_no_grant(
    world: World, fleet: Fleet, cluster: RedisCluster
) -> None:
    world.provider.latency_s = 0.05
    world.add(ACCOUNTS, session_management="fixed", session_timeout_s=SESSION_S)
    members = [fleet.worker(), fleet.beat()]
    wait_until(lambda: world.all_refreshed(ACCOUNTS), "every account refreshed")
    wait_until(lambda: all(map(world.token, ACCOUNTS)), "every token published")
    reads, took_s = Reads(cluster.url, ACCOUNTS), list[float]()

    with reads.going_on():
        for number in range(KILLS):
            key = Keys().token(ACCOUNTS[number])
            began = time.monotonic()
            cluster.move_slot(key)
            refreshed_again(world, "every account refreshed after its slot moved")
            took_s.append(time.monotonic() - began)
            began = time.monotonic()
            killed = cluster.fail_over(key)
            took_s.append(time.monotonic() - began)
            refreshed_again(world, "every account refreshed after its primary was killed")
            took_s.append(time.monotonic() - began)
            killed.start()
            wait_until(cluster.is_whole, "the killed one follows")
    print(
        f"\nall refreshed after a move, replaced, all refreshed: {[round(one, 1) for one in took_s]}; "
        f"reads: {reads.tokens}, longest outage {reads.longest_outage_s:.1f} s",
        file=sys.stderr,
    )

    assert reads.absent == []
    assert reads.tokens
    assert (world.provider.reuses, world.provider.overlaps) == (0, 0)
    for member in members:
        assert member.alive, member.said[-3000:]
        assert cluster.password not in member.said


def refreshed_again(world: World, what: str) -> None:
    before = world.generations(ACCOUNTS)
    wait_until(
        lambda: all(now > before[account] for account, now in world.generations(ACCOUNTS).items()), what
    )
