"""PostgreSQL's password where it changes: a command prints it, as cloud providers' IAM tokens are had."""

from __future__ import annotations

import threading
import time
from typing import Final

from worker.crypto.command import output_of
from worker.errors import DatabaseUnreachable, SettingsError
from worker.log import log
from worker.settings import Settings

SETTING: Final = "REFRESHD_DATABASE_PASSWORD_COMMAND"
#: A password is used for new connections so long, seconds: tokens of IAM are good for 15 minutes and more.
CACHED_S: Final = 60.0


class DatabasePassword:
    """What a command prints, for one process. A pool that opens many connections runs it once."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._latest: str | None = None
        self._read_at = 0.0

    def current(self) -> str:
        """Return the password, at most `CACHED_S` old; an older one where the command fails.

        Raises:
            DatabaseUnreachable: the command fails, and never succeeded in this process.
        """
        with self._lock:
            if self._latest is not None and time.monotonic() - self._read_at < CACHED_S:
                return self._latest
            return self._read()

    def after(self, refused: str) -> str | None:
        """Return the password that took the place of one that was refused; None where there is no other.

        Raises:
            DatabaseUnreachable: as `current`.
        """
        with self._lock:
            found = self._latest if self._latest not in {None, refused} else self._read()
        return found if found != refused else None

    def _read(self) -> str:
        try:
            found = _printed(self._command)
        except SettingsError as error:
            if self._latest is None:
                raise DatabaseUnreachable(f"the database's password is not known: {error}") from None
            log.error("database_password_not_read", error=str(error))
            return self._latest
        self._latest, self._read_at = found, time.monotonic()
        return found


def _printed(command: str) -> str:
    output, name = output_of(command, SETTING)
    found = output.decode(errors="replace").strip()
    if not found.isprintable() or not found:
        raise SettingsError(f"{SETTING}: {name} printed no password; expected one line of text")
    return found


def password_of(settings: Settings) -> DatabasePassword | None:
    """Return the source of the password, None where the URL holds it."""
    command = settings.database_password_command
    return None if command is None else DatabasePassword(command.get_secret_value())
