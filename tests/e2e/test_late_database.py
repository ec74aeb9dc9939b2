"""Processes that start before their database does: each waits for it, and none has to be started again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.e2e.conftest import MakeWorld
from tests.e2e.test_sentinel import is_ready
from tests.support.fleet import ROOT, Fleet
from tests.support.pgbouncer import pgbouncer
from tests.support.server_binaries import ServerMissing
from tests.support.server_process import free_port
from tests.support.services import PostgresServer
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.db.migrate import upgrade

#: PgBouncer asks a server that refused it again after so long; by default 15 s.
LOGIN_RETRY_S = 3


@dataclass(frozen=True)
class LateWorld:
    """A world with an account that is due, whose database does not answer yet."""

    world: World
    #: Has it answer.
    begin: Callable[[], None]


@pytest.fixture
def world(make_world: MakeWorld, own_postgres: PostgresServer, redis_url: str) -> World:
    url = own_postgres.create_database("refreshd")
    upgrade(url)
    made = make_world(url, redis_url)
    made.add(["acct"])
    made.stores.engine.dispose()
    return made


@pytest.fixture(params=["not started", "refused by PgBouncer"])
def late(request: pytest.FixtureRequest, world: World, own_postgres: PostgresServer) -> Iterator[LateWorld]:
    if request.param == "not started":
        own_postgres.stop()
        yield LateWorld(world, own_postgres.start)
        return

    def accept(wanted: str) -> None:
        with psycopg.connect(own_postgres.url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE refreshd ALLOW_CONNECTIONS {wanted}")

    try:
        with pgbouncer(
            own_postgres, pool_mode="transaction", server_login_retry=str(LOGIN_RETRY_S)
        ) as pooler:
            world.environment["REFRESHD_DATABASE_URL"] = pooler.url_of("refreshd")
            accept("false")
            wait_until(lambda: not pooler.serves("refreshd"), "a PgBouncer that was refused")
            yield LateWorld(world, partial(accept, "true"))
    except ServerMissing as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_database_that_answers_later_finds_worker_beat_and_api_at_work(
    late: LateWorld, tmp_path: Path, pool: str
) -> None:
    world, port, log = late.world, free_port(), tmp_path / "api.log"
    key = {"REFRESHD_INTAKE_KEY": world.stores.cipher.intake_key}
    with Fleet(world.environment, tmp_path) as fleet, log.open("wb") as file:
        api = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "api", "--port", str(port)],
            cwd=ROOT, env={**fleet.environment, **key}, stdout=file, stderr=file,
        )  # fmt: skip
        try:
            fleet.beat()
            worker = fleet.worker(pool=pool, concurrency=2)
            wait_until(lambda: "database_awaited" in worker.said or not worker.alive, "a worker that waits")
            assert worker.alive, worker.said
            late.begin()
            fleet.wait_ready()
            wait_until(partial(world.all_refreshed, ["acct"]), "a refresh")
            wait_until(partial(is_ready, f"http://127.0.0.1:{port}"), "an API that is ready")
            assert api.poll() is None
        finally:
            api.terminate()
            api.wait(60)
        assert '"database_reached"' in worker.said
        assert worker.said.count('"database_awaited"') < 10


def test_a_worker_that_waits_for_its_database_ends_when_it_is_asked_to(
    late: LateWorld, tmp_path: Path
) -> None:
    with Fleet(late.world.environment, tmp_path) as fleet:
        worker = fleet.worker()
        wait_until(lambda: "database_awaited" in worker.said or not worker.alive, "a worker that waits")
        worker.terminate()
        assert worker.wait_ended(10) == -signal.SIGTERM
