"""PostgreSQL fails over, stops and starts under load, or is restored: no grant is lost at a provider that revokes on reuse."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest
from sqlalchemy import make_url

from tests.e2e.conftest import MakeWorld
from tests.support.fleet import Fleet
from tests.support.pgbouncer import pgbouncer
from tests.support.postgres_backups import PostgresCopy, query
from tests.support.server_binaries import ServerMissing
from tests.support.services import PostgresServer
from tests.support.switch import Switch
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.db.migrate import upgrade
from worker.policy.reasons.done import LOST_COMMIT_ADOPTED

ACCOUNTS: Final = [f"acct-{number}" for number in range(60)]


@pytest.fixture
def switch(own_postgres: PostgresServer) -> Iterator[Switch]:
    with Switch(own_postgres.port) as made:
        yield made


@pytest.fixture
def on_postgres(make_world: MakeWorld, own_postgres: PostgresServer, switch: Switch, redis_url: str) -> World:
    url = make_url(own_postgres.create_database("refreshd")).set(port=switch.port)
    text = url.render_as_string(hide_password=False)
    upgrade(text)
    return make_world(text, redis_url, call_timeout_s="5", claim_s="15", requests_per_s="1000")


@pytest.fixture
def replica(own_postgres: PostgresServer, tmp_path: Path) -> Iterator[PostgresCopy]:
    try:
        made = PostgresCopy(own_postgres, tmp_path / "replica", standby=True)
    except ServerMissing as error:
        pytest.skip(str(error))
    made.start()
    yield made
    made.stop()
    made.remove()


def refreshed(world: World, beyond: int) -> None:
    wait_until(
        lambda: world.all_refreshed(ACCOUNTS, beyond=beyond), f"every account beyond generation {beyond}"
    )


def planned(world: World) -> None:
    world.plan_until(lambda: world.all_refreshed(ACCOUNTS), "every account refreshed")


def nothing_lost(world: World) -> None:
    """Wait until the database holds what the provider takes next; no spent refresh token was used, no grant ended."""
    wait_until(lambda: all(map(world.agrees_with_the_provider, ACCOUNTS)), "the provider's refresh tokens")
    assert world.provider.reuses == 0
    assert not any(grant.revoked for grant in world.provider.grants.values())


def force(world: World) -> None:
    world.push(list(world.generations(ACCOUNTS).items()))


def test_a_replica_that_lagged_costs_no_grant(
    on_postgres: World, own_postgres: PostgresServer, replica: PostgresCopy, switch: Switch, tmp_path: Path
) -> None:
    """Two refreshes of each account are lost, the second asked for by hand: the replica's rows are due in an hour."""
    world = on_postgres
    world.add(ACCOUNTS)
    with Fleet(world.environment, tmp_path) as fleet:
        fleet.worker().wait_ready()
        world.send("refreshd.reconcile", {}, "control")
        replica.has(str(query(own_postgres.url, "SELECT pg_current_wal_lsn()")))
        planned(world)
        replica.has(str(query(own_postgres.url, "SELECT pg_current_wal_lsn()")))
        replica.cut_off()
        for generation in (2, 3):
            force(world)
            refreshed(world, generation)
        wait_until(lambda: all(map(world.is_published, ACCOUNTS)), "every token published")
        calls = world.provider.refreshes

        own_postgres.kill()
        replica.promote()
        switch.to(replica.port)
        wait_until(lambda: set(world.generations(ACCOUNTS).values()) == {2}, "the replica's rows")
        world.send("refreshd.reconcile", {}, "control")
        fleet.beat()

        refreshed(world, 4)
        nothing_lost(world)
    assert world.provider.refreshes == calls, "stored again, and the provider was not asked"
    for account in ACCOUNTS:
        assert world.attempts(account)[-1].reason == LOST_COMMIT_ADOPTED
        assert world.is_published(account)


def test_a_promotion_under_load_costs_no_grant(
    on_postgres: World, own_postgres: PostgresServer, replica: PostgresCopy, switch: Switch, tmp_path: Path
) -> None:
    world = on_postgres
    world.provider.lifetime_s = 4
    world.provider.latency_s = 0.5
    world.add(ACCOUNTS)
    with Fleet(world.environment, tmp_path) as fleet:
        fleet.beat()
        fleet.worker().wait_ready()
        refreshed(world, 2)
        replica.cut_off()
        refreshed(world, 5)
        own_postgres.kill()
        calls = world.provider.refreshes
        replica.promote()
        switch.to(replica.port)
        wait_until(lambda: world.provider.refreshes > calls + len(ACCOUNTS), "refreshes after it")
        refreshed(world, 8)
        world.provider.lifetime_s = 3600
        nothing_lost(world)


@pytest.mark.parametrize("pool_mode", [None, "transaction", "session"])
def test_a_database_that_goes_away_under_load_costs_no_grant(
    make_world: MakeWorld,
    own_postgres: PostgresServer,
    redis_url: str,
    tmp_path: Path,
    pool_mode: str | None,
) -> None:
    """Sessions are ended, the server is restarted, and stopped at once; straight and through PgBouncer."""
    name = make_url(own_postgres.create_database("refreshd")).database or ""
    if pool_mode is None:
        goes_away_under_load(make_world, own_postgres, own_postgres.url_of(name), redis_url, tmp_path)
        return
    try:
        with pgbouncer(own_postgres, pool_mode=pool_mode, server_login_retry="1") as pooler:
            goes_away_under_load(make_world, own_postgres, pooler.url_of(name), redis_url, tmp_path)
    except ServerMissing as error:
        pytest.skip(str(error))


def goes_away_under_load(
    make_world: MakeWorld, server: PostgresServer, url: str, redis_url: str, folder: Path
) -> None:
    upgrade(url)
    world = make_world(url, redis_url, call_timeout_s="5", claim_s="15", requests_per_s="1000")
    world.provider.lifetime_s = 4
    world.add(ACCOUNTS)
    with Fleet(world.environment, folder) as fleet:
        fleet.beat()
        fleet.worker().wait_ready()
        refreshed(world, 1)
        for goes_away in (_end_sessions, _restart, _stop_at_once):
            calls = world.provider.refreshes
            wait_until(lambda seen=calls: world.provider.refreshes > seen + 20, "load")  # type: ignore[misc]
            goes_away(server)
        calls = world.provider.refreshes
        wait_until(lambda: world.provider.refreshes > calls + 2 * len(ACCOUNTS), "refreshes after it")
        world.provider.lifetime_s = 3600
        nothing_lost(world)


def _end_sessions(server: PostgresServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        for _ in range(5):
            connection.execute(
                "SELECT pg_terminate_backend(pid), pg_sleep(0.05) FROM pg_stat_activity "
                "WHERE datname = 'refreshd' AND pid <> pg_backend_pid()"
            )


def _restart(server: PostgresServer) -> None:
    server.stop()
    server.start()


def _stop_at_once(server: PostgresServer) -> None:
    server.stop_at_once()
    server.start()


@pytest.mark.parametrize("archived", ["everything", "until the last refresh"])
def test_a_base_backup_with_archived_wal_costs_no_grant(
    make_world: MakeWorld, redis_url: str, tmp_path: Path, archived: str
) -> None:
    """The backup is from before every refresh. What the archive lacks, Redis has kept."""
    archive = tmp_path / "archive"
    server = PostgresServer(tmp_path, options={"archive_mode": "on"})
    archive = server.folder / "archive"
    archive.mkdir()
    if server.user:
        shutil.chown(archive, server.user)
    server.options["archive_command"] = f"test ! -f {archive}/%f && cp %p {archive}/%f"
    restored: PostgresCopy | None = None
    try:
        server.start()
        with Switch(server.port) as switch:
            name = make_url(server.create_database("refreshd"))
            url = name.set(port=switch.port).render_as_string(hide_password=False)
            upgrade(url)
            world = make_world(url, redis_url, call_timeout_s="5", claim_s="15", requests_per_s="1000")
            world.add(ACCOUNTS)
            restored = PostgresCopy(server, tmp_path / "restored", standby=False)
            with Fleet(world.environment, tmp_path) as fleet:
                fleet.worker().wait_ready()
                planned(world)
                _archive(server)
                force(world)
                refreshed(world, 2)
                wait_until(lambda: all(map(world.is_published, ACCOUNTS)), "every token published")
                if archived == "everything":
                    _archive(server)
                server.kill()
                restored.recover(archive)
                restored.start()
                wait_until(lambda: restored.query("SELECT pg_is_in_recovery()") is False, "recovered")
                switch.to(restored.port)
                expected = {3} if archived == "everything" else {2}
                wait_until(lambda: set(world.generations(ACCOUNTS).values()) == expected, "its rows")
                fleet.beat()
                world.send("refreshd.reconcile", {}, "control")
                if archived != "everything":
                    refreshed(world, 3)
                nothing_lost(world)
                assert world.provider.refreshes == 2 * len(ACCOUNTS)
    except ServerMissing as error:
        pytest.skip(str(error))
    finally:
        for one in (server, restored):
            if one is not None:
                one.stop()
                one.remove()


def _archive(server: PostgresServer) -> None:
    """Have everything so far archived."""
    segment = str(query(server.url, "SELECT pg_walfile_name(pg_switch_wal())"))
    latest = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver"
    wait_until(lambda: str(query(server.url, latest)) >= segment, "WAL archived")
