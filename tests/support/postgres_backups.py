"""Copies of a PostgreSQL of the tests: a standby that streams, and a base backup with archived WAL."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import psycopg

from tests.support.server_binaries import ServerMissing
from tests.support.server_process import ServerFailed, run_as
from tests.support.services import PostgresServer


class PostgresCopy(PostgresServer):
    """A server whose data begins as a base backup of another one. `options` are its own.

    Args:
        original: the server that is copied, which runs.
        directory: as a server's.
        standby: it goes on as a standby that streams; False: `recover` says how far it goes.
    """

    def __init__(self, original: PostgresServer, directory: Path, *, standby: bool) -> None:
        super().__init__(directory, binaries=original.binaries)
        self.password = original.password
        self.original = original
        self._standby = standby
        self.copy_data()

    def copy_data(self) -> None:
        """Make the base backup."""
        original = self.original
        program = self.binaries / "pg_basebackup"
        if not program.is_file():
            raise ServerMissing(
                f"{program} is not there: a standby is made with it (Debian: postgresql-client)"
            )
        source = f"host=127.0.0.1 port={original.port} user={original.USER} password={original.password}"
        command = [
            str(program),
            f"--pgdata={self.data}",
            f"--dbname={source}",
            "--checkpoint=fast",
            "--no-sync",
        ]
        made = subprocess.run(
            [*command, *(["--write-recovery-conf"] if self._standby else [])],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            **run_as(self.user),
        )
        if made.returncode:
            raise ServerFailed(f"pg_basebackup failed: {made.stderr[-2000:]}")

    def configure(self, *lines: str) -> None:
        """Add lines to its configuration, which a server that runs reads again."""
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
        if self.running:
            self.query("SELECT pg_reload_conf()")

    def cut_off(self) -> None:
        """Receive nothing more from the primary, as over a network that is down: what it commits is lost here."""
        self.configure("primary_conninfo = ''")
        self.until("SELECT count(*) = 0 FROM pg_stat_wal_receiver")

    def has(self, lsn: str) -> None:
        """Wait until everything up to a place in the primary's log is here."""
        self.until(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn")

    def promote(self) -> None:
        """Make a primary of it."""
        assert self.query("SELECT pg_promote(true, 60)") is True

    def until(self, condition: str) -> None:
        """Wait for a condition in SQL."""
        self.query(
            f"DO $$ BEGIN FOR n IN 1..3000 LOOP IF ({condition}) THEN RETURN; END IF; PERFORM pg_sleep(0.01); "
            "PERFORM pg_stat_clear_snapshot(); END LOOP; RAISE 'waited in vain'; END $$"
        )

    def query(self, statement: str) -> object:
        return query(self.url, statement)

    def recover(self, archive: Path) -> None:
        """Have the next start replay the archived WAL to its end, and go on from there as a primary."""
        (self.data / "recovery.signal").touch()
        if self.user:
            shutil.chown(self.data / "recovery.signal", self.user)
        self.configure(f"restore_command = 'cp {archive}/%f %p'", "recovery_target_action = 'promote'")


def query(url: str, statement: str) -> object:
    """Run one statement in a session of its own; return the first value of its first row."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
        return None if row is None else row[0]
