"""The database goes away between the answer and the commit: the answer waits, sealed, and nobody calls again."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import make_url, text

from tests.e2e.conftest import MakeWorld
from tests.support.fleet import Fleet, Member
from tests.support.pgbouncer import pgbouncer
from tests.support.server_binaries import ServerMissing
from tests.support.services import PostgresServer
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.db.engine import reading
from worker.db.migrate import upgrade
from worker.policy.reasons.done import STASH_ADOPTED

ACCOUNTS: Final = [f"acct-{number}" for number in range(20)]


@pytest.fixture
def on_postgres(make_world: MakeWorld, own_postgres: PostgresServer, redis_url: str) -> World:
    url = own_postgres.create_database("refreshd")
    upgrade(url)
    return make_world(url, redis_url, call_timeout_s="5", claim_s="15", requests_per_s="1000")


def stashed(world: World) -> bool:
    return bool(world.stores.redis.exists(*map(world.stores.keys.stash, ACCOUNTS)) == len(ACCOUNTS))


def answers_wait(world: World, fleet: Fleet, server: PostgresServer) -> Member:
    """Bring about that every answer waits in the stash."""
    world.add(ACCOUNTS)
    world.provider.answering.clear()
    fleet.beat()
    worker = fleet.worker().wait_ready()
    wait_until(lambda: set(world.provider.under_way) == set(ACCOUNTS), "every call under way")
    server.kill()
    world.provider.answering.set()
    wait_until(lambda: stashed(world), "every answer stashed")
    for account in ACCOUNTS:
        sealed = str(world.stores.redis.get(world.stores.keys.stash(account)))
        assert account not in sealed
        assert "token" not in sealed
    return worker


def test_answers_are_committed_when_it_is_back(
    on_postgres: World, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    world = on_postgres
    with Fleet(world.environment, tmp_path) as fleet:
        answers_wait(world, fleet, own_postgres)
        own_postgres.start()
        wait_until(lambda: world.all_refreshed(ACCOUNTS), "every answer stored")
        wait_until(lambda: not world.stores.redis.exists(*map(world.stores.keys.stash, ACCOUNTS)), "no stash")

    assert world.provider.refreshes == len(ACCOUNTS)
    assert all(map(world.agrees_with_the_provider, ACCOUNTS))


def test_the_next_worker_adopts_what_a_killed_one_left(
    on_postgres: World, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    world = on_postgres
    with Fleet(world.environment, tmp_path) as fleet:
        answers_wait(world, fleet, own_postgres).kill()
        own_postgres.start()
        fleet.worker("next").wait_ready()
        wait_until(lambda: world.all_refreshed(ACCOUNTS), "every answer adopted")
        wait_until(lambda: not world.stores.redis.exists(*map(world.stores.keys.stash, ACCOUNTS)), "no stash")

    assert world.provider.refreshes == len(ACCOUNTS)
    for account in ACCOUNTS:
        assert world.attempts(account)[-1].reason == STASH_ADOPTED
        assert world.agrees_with_the_provider(account)


def test_answers_are_put_aside_while_a_pooler_has_commits_wait(
    make_world: MakeWorld, own_postgres: PostgresServer, redis_url: str, tmp_path: Path
) -> None:
    """PgBouncer refuses nothing for two minutes: a worker that is killed meanwhile has lost no answer."""
    own_postgres.create_database("refreshd")
    try:
        with pgbouncer(own_postgres, pool_mode="transaction", server_login_retry="1") as pooler:
            url = pooler.url_of("refreshd")
            upgrade(url)
            world = make_world(url, redis_url, call_timeout_s="5", claim_s="15", requests_per_s="1000")
            with Fleet(world.environment, tmp_path) as fleet:
                answers_wait(world, fleet, own_postgres).kill()
                own_postgres.start()
                # A worker that begins while the pooler still refuses, for a second, ends.
                wait_until(lambda: pooler.serves("refreshd"), "the pooler has found the server again")
                fleet.worker("next").wait_ready()
                wait_until(lambda: world.all_refreshed(ACCOUNTS), "every answer adopted")
            assert world.provider.refreshes == len(ACCOUNTS)
            assert all(map(world.agrees_with_the_provider, ACCOUNTS))
    except ServerMissing as error:
        pytest.skip(str(error))


def test_a_full_disk_is_said_and_tears_nothing(
    make_world: MakeWorld, sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    """A limit on the worker's files stands in for the disk: SQLite's log can't grow any more."""
    world = make_world(sqlite_url, redis_url, requests_per_s="1000")
    world.add([f"filler-{n}" for n in range(1000)], next_refresh_at=None, plan_at=None)
    world.add(ACCOUNTS)
    world.provider.answering.clear()
    wal = Path(f"{make_url(sqlite_url).database}-wal")
    with Fleet(world.environment, tmp_path) as fleet:
        worker = fleet.worker().wait_ready()
        world.plan()
        wait_until(lambda: set(world.provider.under_way) == set(ACCOUNTS), "every call under way")
        with reading(world.stores.engine) as connection:
            connection.execute(text("SELECT count(*) FROM account"))  # a reader: the log can't begin anew
            limits = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (wal.stat().st_size, limits[1]))
            world.provider.answering.set()
            wait_until(lambda: stashed(world), "every answer stashed")
            assert "commit_deferred" in worker.said
            assert not world.all_refreshed(ACCOUNTS[:1])
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, limits)
        wait_until(lambda: world.all_refreshed(ACCOUNTS), "every answer stored")
        assert worker.alive

    with reading(world.stores.engine) as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
    assert world.provider.refreshes == len(ACCOUNTS)
    assert all(map(world.agrees_with_the_provider, ACCOUNTS))
