"""A Redis at its maxmemory (`noeviction`) refuses writes: nothing ends, whoever asks, and work goes on once there is room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from tests.e2e.conftest import MakeWorld
from tests.support.fleet import ROOT, Fleet
from tests.support.forked import ran
from tests.support.server_process import free_port
from tests.support.services import RedisServer, redis_server
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.redis.client import connect

ACCOUNTS: Final = [f"acct-{number}" for number in range(10)]
#: What they would die of comes with the first question.
ASKED: Final = 1


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def world(make_world: MakeWorld, sqlite_url: str, own_redis: RedisServer) -> World:
    return make_world(sqlite_url, own_redis.url, requests_per_s="1000", flower_port=str(free_port()))


def fill(client: Any) -> None:
    """Leave no room: less than there is in use already."""
    client.config_set("maxmemory", "1mb")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        client.set("one more", "x")


def command(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of refreshd in the fleet's environment."""
    return ran(["worker.cli", *words], cwd=ROOT, env={**os.environ, **world.environment})


def test_a_full_redis_ends_no_process_and_work_goes_on_with_room(
    world: World, fleet: Fleet, own_redis: RedisServer
) -> None:
    world.add(ACCOUNTS, session_management="fixed", session_timeout_s=3.0)
    members = [fleet.worker(), fleet.beat(), fleet.flower()]
    wait_until(lambda: world.all_refreshed(ACCOUNTS), "every account refreshed")
    for member in members:
        member.wait_ready()
    client: Any = connect(own_redis.url)
    fill(client)
    members.append(fleet.worker("late"))  # one that is started now

    for _ in range(ASKED):
        command(world, "status", "--json")
        command(world, "exporter", "--once")
    said = [json.loads(line) for line in command(world, "doctor", "--json").stdout.splitlines()]

    [full] = [one for one in said if one["check"] == "redis writes"]
    assert full["level"] == "failed"
    assert "it is full (maxmemory) and refuses writes" in full["message"]
    for member in members:
        assert member.alive, member.said[-3000:]

    before = world.generations(ACCOUNTS)
    client.config_set("maxmemory", 0)
    room_at = time.monotonic()
    wait_until(
        lambda: all(now > before[one] for one, now in world.generations(ACCOUNTS).items()),
        "every account refreshed with room",
    )
    print(f"\nall refreshed {time.monotonic() - room_at:.1f} s after there was room", file=sys.stderr)
    wait_until(lambda: all(map(world.is_published, ACCOUNTS)), "every token published")
    members[-1].wait_ready()
    for member in members:
        assert member.alive, member.said[-3000:]
    assert world.provider.reuses == 0
    client.close()


def test_doctor_refuses_a_redis_that_evicts_and_says_what_is_at_stake(
    world: World, own_redis: RedisServer
) -> None:
    client: Any = connect(own_redis.url)
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.close()
    said = [json.loads(line) for line in command(world, "doctor", "--json").stdout.splitlines()]
    [found] = [one for one in said if one["check"] == "redis eviction"]
    assert found["level"] == "failed"
    for word in ("allkeys-lru", "refresh token is sent twice", "log in again", "tokens that connectors read"):
        assert word in found["message"]
