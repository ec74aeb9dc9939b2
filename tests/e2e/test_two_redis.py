"""Tokens in one Redis, tasks in another (`REFRESHD_BROKER_URL`): each has what belongs there, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from models.tables.attempt import Outcome
from tests.e2e.conftest import MakeWorld
from tests.support.fleet import ROOT, Fleet
from tests.support.services import RedisServer, redis_server
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.redis.client import connect

ACCOUNTS: Final = [f"acct-{number}" for number in range(5)]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "broker") as server:
        yield server


@pytest.fixture
def world(make_world: MakeWorld, sqlite_url: str, redis_url: str, own_redis: RedisServer) -> World:
    return make_world(sqlite_url, redis_url, requests_per_s="1000", broker_url=own_redis.url)


def command(world: World, *words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *words],
        cwd=ROOT,
        env={**os.environ, **world.environment},
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def names(client: Any) -> list[str]:
    return [str(name) for name in client.scan_iter(count=1000)]


def test_tasks_go_to_one_and_tokens_to_the_other(world: World, fleet: Fleet, own_redis: RedisServer) -> None:
    world.add(ACCOUNTS)
    fleet.worker()
    fleet.beat()
    wait_until(lambda: all(map(world.is_published, ACCOUNTS)) and world.all_refreshed(ACCOUNTS), "published")
    broker = connect(own_redis.url)

    assert not [name for name in names(broker) if name.startswith(("refreshd:token", "refreshd:account"))]
    assert broker.exists("refreshd:clocks")
    ours = names(world.stores.redis)
    assert not [name for name in ours if not name.startswith("refreshd:")], "no queue and no binding"
    assert "refreshd:clocks" not in ours

    shown = json.loads(command(world, "refresh", ACCOUNTS[0], "--force", "--wait", "--json"))
    assert shown["outcome"] == Outcome.REFRESHED
    status = json.loads(command(world, "status", "--json"))
    assert set(status["workers"]) == {"worker@acceptance"}
    found = [json.loads(line) for line in command(world, "doctor", "--json").splitlines()]
    assert {one["check"] for one in found if one["level"] == "ok"} >= {"redis", "broker", "workers", "beat"}
    broker.close()
