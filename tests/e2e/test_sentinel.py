"""A primary is killed under load: the sentinels name another, and every process finds it by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.e2e.conftest import MakeWorld
from tests.support.fleet import ROOT, Fleet
from tests.support.reads import Reads
from tests.support.sentinels import RedisSet, redis_set
from tests.support.server_process import free_port
from tests.support.waiting import wait_until
from tests.support.world import World

#: One in CI; three, and more accounts, where a person has the time: the figures are in docs/decisions/0033-redis-servers.md.
KILLS: Final = int(os.environ.get("REFRESHD_TEST_KILLS", "1"))
ACCOUNTS: Final = [f"acct-{number}" for number in range(int(os.environ.get("REFRESHD_TEST_ACCOUNTS", "40")))]
SESSION_S: Final = 3.0


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[RedisSet]:
    with redis_set(tmp_path / "set") as made:
        yield made


@pytest.fixture
def world(make_world: MakeWorld, sqlite_url: str, servers: RedisSet) -> World:
    return make_world(sqlite_url, servers.url, requests_per_s="1000", flower_port=str(free_port()))


@pytest.fixture
def api(world: World, tmp_path: Path) -> Iterator[str]:
    """Run the API, and give its address."""
    port, log = free_port(), tmp_path / "api.log"
    environment = {**os.environ, **world.environment, "REFRESHD_INTAKE_KEY": world.stores.cipher.intake_key}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "api", "--port", str(port)],
            cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
        assert process.poll() is None, log.read_text()[-2000:]
    finally:
        process.terminate()
        process.wait(60)


def is_ready(api: str) -> bool:
    """Return whether the API reaches both stores."""
    try:
        return httpx.get(f"{api}/readyz", timeout=5).is_success
    except httpx.HTTPError:
        return False


def test_a_killed_primary_costs_no_token_and_no_grant(
    world: World, fleet: Fleet, servers: RedisSet, api: str
) -> None:
    world.provider.latency_s = 0.05
    world.add(ACCOUNTS, session_management="fixed", session_timeout_s=SESSION_S)
    members = [fleet.worker("one"), fleet.worker("two"), fleet.beat(), fleet.flower()]
    wait_until(lambda: world.all_refreshed(ACCOUNTS), "every account refreshed")
    wait_until(lambda: all(map(world.is_published, ACCOUNTS)), "every token published")
    reads, took_s = Reads(servers.url, ACCOUNTS), list[float]()

    with reads.going_on():
        for _ in range(KILLS):
            began = time.monotonic()
            killed = servers.fail_over()
            named_s = time.monotonic() - began
            before = world.generations(ACCOUNTS)
            wait_until(partial(_all_beyond, world, before), "every account refreshed again")
            took_s += [named_s, time.monotonic() - began]
            wait_until(lambda: is_ready(api), "the API finds the new primary")
            killed.start()
            wait_until(servers._is_whole, "the killed one follows")
    print(
        f"\nnamed, all refreshed: {[round(one, 1) for one in took_s]}; reads: {reads.tokens}, "
        f"longest outage {reads.longest_outage_s:.1f} s",
        file=sys.stderr,
    )

    assert reads.absent == []
    assert reads.tokens
    assert world.provider.reuses == 0
    assert world.provider.overlaps == 0
    for member in members:
        assert member.alive, member.said[-3000:]
        for password in servers.passwords:
            assert password not in member.said


def _all_beyond(world: World, before: dict[str, int]) -> bool:
    return all(generation > before[account] for account, generation in world.generations(ACCOUNTS).items())
