"""Real Redis and PostgreSQL for tests and benchmarks: own processes on loopback, killed and restarted at will.

    with redis_server(tmp_path) as redis, postgres_server(tmp_path) as postgres:
        url = postgres.create_database("accounts")
        redis.kill()  # as a crash would
        redis.start()  # the same address, the same data

A server keeps its port and its data from `start()` to `start()`. Both ask for a password, so that a leak of one
can be seen. Where no binary is found they raise `ServerMissing`: a check that skips by itself is none.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
import redis
from psycopg import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.server_binaries import ServerMissing, postgres_binaries, redis_binary, unprivileged_user
from tests.support.server_process import ServerFailed, ServerProcess, free_port, run_as

__all__ = [
    "PostgresServer",
    "RedisServer",
    "ServerFailed",
    "ServerMissing",
    "free_port",
    "postgres_server",
    "redis_server",
]


class RedisServer(ServerProcess):
    """Redis or Valkey with an append-only file: what it acknowledged is there after `kill()` and `start()`."""

    def __init__(self, directory: Path, *, port: int | None = None) -> None:
        folder = directory / "redis"
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__("Redis", folder, port)
        self.binary = redis_binary()
        self.password = secrets.token_urlsafe(12)

    @property
    def url(self) -> str:
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """Return the URL of one of the 16 numbered databases."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def wipe(self) -> None:
        """Throw the data of a stopped server away: the next start finds none."""
        if self.running:
            raise ServerFailed("stop or kill Redis before its data is thrown away")
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
        (self.folder / "dump.rdb").unlink(missing_ok=True)

    def _command(self) -> list[str]:
        config = self.folder / "redis.conf"
        config.touch(mode=0o600)
        config.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\nappendonly yes\nsave ''\n"
            "maxmemory-policy noeviction\ndaemonize no\n"
        )
        return [str(self.binary), str(config)]

    def _answers(self) -> bool:
        # Without retries: redis-py's own last for seconds.
        client = redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0), socket_timeout=2)
        try:
            return int(client.info("server")["process_id"]) == self.pid
        except redis.RedisError:
            return False
        finally:
            client.close()


class PostgresServer(ServerProcess):
    """PostgreSQL, also when run as root: the server itself then runs as an unprivileged user.

    Args:
        directory: for data and log; as root they are in a folder of their own under the system's temporary
            folder, because the unprivileged user could not reach most others.
        durable: False leaves out fsync: a killed server loses nothing, a machine without power would.
        binaries: folder with `initdb` and `postgres`; by default the system's, else the wheel's.
        options: settings of the server beside those of every test.
    """

    USER: Final = "refreshd"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        durable: bool = False,
        binaries: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.options = dict(options or {})
        user = unprivileged_user() if os.geteuid() == 0 else None
        folder = Path(tempfile.mkdtemp(prefix="refreshd-postgres-")) if user else directory / "postgres"
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__("PostgreSQL", folder, port)
        self.user = user
        self.password = secrets.token_urlsafe(12)
        self.durable = durable
        self._own_folder = user is not None
        self._sockets = Path(
            tempfile.mkdtemp(prefix="refreshd-pg-")
        )  # short: a socket's path ends at 107 bytes
        if user:
            for path in (self.folder, self._sockets):
                shutil.chown(path, user)
        self.binaries = self._reachable(binaries or postgres_binaries())

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        """The URL of the database `postgres`, from which others are made."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql://{self.USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        super().start()

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create a database, as a copy of another where one is named, and return its URL.

        One of this name is dropped: a module's fixture begins again where its tests ran in two parts.
        """
        self.drop_database(name)
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template)
        )
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, and whoever is still connected to it."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def remove(self) -> None:
        """Remove what was made outside the caller's directory."""
        shutil.rmtree(self._sockets, ignore_errors=True)
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _initdb(self) -> None:
        password = self.folder / "password"
        password.write_text(self.password)
        if self.user:
            shutil.chown(password, self.user)
        password.chmod(0o600)
        result = subprocess.run(
            [
                *(str(self.binaries / "initdb"), f"--pgdata={self.data}", f"--pwfile={password}"),
                *(f"--username={self.USER}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"),
                "--no-sync",
            ],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **run_as(self.user),
        )
        password.unlink()
        if result.returncode:
            raise ServerFailed(f"initdb failed: {result.stdout[-2000:]}")

    def _command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self._sockets,
            "max_connections": 200,
            "fsync": "on" if self.durable else "off",
            **self.options,
        }
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [str(self.binaries / "postgres"), "-D", str(self.data), *flags]

    def _answers(self) -> bool:
        pid_file = self.data / "postmaster.pid"
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return int(pid_file.read_text().split()[0]) == self.pid
        except (psycopg.OperationalError, OSError):
            return False

    def _polite_signal(self) -> signal.Signals:
        return signal.SIGINT  # "fast": sessions are ended, not waited for

    def stop_at_once(self) -> None:
        """End it without a checkpoint, as `pg_ctl stop -m immediate` does: its next start recovers."""
        self._end(signal.SIGQUIT)

    def _reachable(self, binaries: Path) -> Path:
        """Copy the wheel's installation where the unprivileged user can't reach it (a venv in /root)."""
        if not self.user or all(parent.stat().st_mode & 0o001 for parent in binaries.resolve().parents):
            return binaries
        package = binaries.parent.parent
        copy = self.folder / package.name
        shutil.copytree(binaries.parent, copy / binaries.parent.name)
        libraries = package.with_name(f"{package.name}.libs")  # found by the binaries beside their package
        if libraries.exists():
            shutil.copytree(libraries, copy.with_name(libraries.name))
        return copy / binaries.parent.name / "bin"


@contextmanager
def redis_server(directory: Path) -> Iterator[RedisServer]:
    """Run a Redis whose data is in `directory`."""
    server = RedisServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def postgres_server(
    directory: Path, *, durable: bool = False, binaries: Path | None = None
) -> Iterator[PostgresServer]:
    """Run a PostgreSQL whose data is in `directory` (see `PostgresServer`)."""
    server = PostgresServer(directory, durable=durable, binaries=binaries)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        server.remove()


@contextmanager
def empty_database(kind: str, directory: Path, *, durable: bool = False) -> Iterator[str]:
    """Return the URL of a new database in `directory`: `sqlite`, or `postgresql` with a server of its own."""
    if kind == "sqlite":
        yield f"sqlite:///{directory / 'refreshd.db'}"
        return
    with postgres_server(directory, durable=durable) as server:
        yield server.create_database("refreshd")
