"""PgBouncer before a PostgreSQL of the tests, as its package configures it: only addresses and users are named."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.support.server_binaries import ServerMissing, unprivileged_user
from tests.support.server_process import ServerProcess
from tests.support.services import PostgresServer


def pgbouncer_binary() -> Path:
    """Find PgBouncer; systems keep it where only administrators look."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ServerMissing("no PgBouncer to test with: install it (Debian: pgbouncer)")
    return Path(found)


class PgBouncer(ServerProcess):
    """A pooler before one PostgreSQL.

    Args:
        postgres: the server.
        settings: lines of its configuration, name -> value.
    """

    def __init__(self, postgres: PostgresServer, **settings: str) -> None:
        super().__init__("PgBouncer", Path(tempfile.mkdtemp(prefix="refreshd-pgbouncer-")), None)
        self.binary = pgbouncer_binary()
        self.postgres = postgres
        self.settings = settings
        if os.geteuid() == 0:
            self.user = unprivileged_user()
            shutil.chown(self.folder, self.user)

    def url_of(self, database: str) -> str:
        return self.postgres.url_of(database).replace(f":{self.postgres.port}/", f":{self.port}/")

    def remove(self) -> None:
        """Remove its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _command(self) -> list[str]:
        server = self.postgres
        users = self._file("users.txt", f'"{server.USER}" "{server.password}"\n')
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "md5",
            "auth_file": users,
            **self.settings,
        }
        text = "".join(f"{name} = {value}\n" for name, value in lines.items())
        databases = f"[databases]\n* = host=127.0.0.1 port={server.port}\n"
        return [str(self.binary), str(self._file("pgbouncer.ini", f"{databases}[pgbouncer]\n{text}"))]

    def _file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        if self.user:
            shutil.chown(path, self.user)
        return path

    def serves(self, database: str) -> bool:
        """Return whether a statement is answered through it: each database has a pool that finds the server again."""
        try:
            with psycopg.connect(
                self.url_of(database), connect_timeout=2, autocommit=True, prepare_threshold=None
            ) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.Error:
            return False

    def _answers(self) -> bool:
        return self.serves("postgres")

    def _polite_signal(self) -> signal.Signals:
        return signal.SIGINT


@contextmanager
def pgbouncer(postgres: PostgresServer, **settings: str) -> Iterator[PgBouncer]:
    """Run a PgBouncer before a PostgreSQL."""
    server = PgBouncer(postgres, **settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        server.remove()
