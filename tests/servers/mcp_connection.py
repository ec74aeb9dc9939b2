"""An MCP server by its address alone: `accounts authorize --mcp`, three refreshes, and a client's session across one of them.

    python -m tests.servers.mcp_connection [--folder FOLDER]

Server and client are PyPI's `mcp` (`tests/servers/mcp/`), installed from its lock. Exit code 1 where a step failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

import httpx

from models.attempt import Trigger
from refreshd_reader import Reader
from tests.servers.catalogue import SERVERS
from tests.servers.installing import install
from tests.support.fleet import ROOT
from tests.support.server_process import ServerProcess, sigterm_ends_as_ctrl_c_does
from tests.support.services import redis_server
from tests.support.waiting import PATIENCE_S
from worker.crypto.cipher import generate_key
from worker.refresh.attempt import Origin
from worker.runtime import Runtime
from worker.settings import Settings

_ACCOUNT: Final = "notes"
_REFRESHES: Final = 3


class _McpServer(ServerProcess):
    def __init__(self, folder: Path, python: str) -> None:
        super().__init__("mcp", folder, None)
        self._python = python

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def _command(self) -> list[str]:
        return ["env", f"PORT={self.port}", self._python, "connection.py"]

    def _answers(self) -> bool:
        try:
            return (
                httpx.get(self.url, trust_env=False, timeout=PATIENCE_S).status_code
                == httpx.codes.UNAUTHORIZED
            )
        except httpx.TransportError:
            return False


def main() -> int:
    """Run, and print what came of each step."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.mcp_connection")
    parser.add_argument("--folder", type=Path, help="install here: what is installed is not installed again")
    arguments = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    with TemporaryDirectory(prefix="refreshd-mcp-") as temporary:
        folder = Path(temporary)
        [package] = [one for one in SERVERS if one.name == "mcp"]
        place = (arguments.folder or folder) / package.name
        [python, _] = install(package, place)
        server = _McpServer(place, python)
        with redis_server(folder) as redis:
            server.start()
            try:
                _run(server, redis.url, folder, python)
            finally:
                server.stop()
    print("an MCP server's address was enough")
    return 0


def _run(server: _McpServer, redis_url: str, folder: Path, python: str) -> None:
    settings = {
        "REFRESHD_DATABASE_URL": f"sqlite:///{folder / 'refreshd.db'}",
        "REFRESHD_REDIS_URL": redis_url,
        "REFRESHD_KEYS": generate_key(),
        "REFRESHD_DATA_DIR": str(folder / "data"),
        "REFRESHD_ALLOW_HTTP_HOSTS": "127.0.0.1",
    }
    _refreshd(settings, "db", "upgrade")
    _refreshd(settings, "accounts", "authorize", _ACCOUNT, "--mcp", server.url)
    with _session(python, server, redis_url) as (asks, tells):
        seen = [_call(asks, tells)]
        for _ in range(_REFRESHES):
            _refresh(settings)
            seen.append(_call(asks, tells))
    for line in seen:
        print(line)
    expected = [f"token {serial} for {server.url}" for serial in range(1, _REFRESHES + 2)]
    if seen != expected:
        raise SystemExit(f"expected {expected}")


def _refreshd(settings: dict[str, str], *words: str) -> None:
    environment = {**os.environ, **settings, "BROWSER": f"{sys.executable} -m tests.oidc.browser alice %s"}
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", *words], cwd=ROOT, env=environment, check=False,
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"refreshd {' '.join(words)}: {done.stderr}")


def _refresh(settings: dict[str, str]) -> None:
    """Refresh the account as a worker does."""
    values = {name.removeprefix("REFRESHD_").lower(): value for name, value in settings.items()}
    with Reader.from_url(settings["REFRESHD_REDIS_URL"]) as reader:
        generation = reader.get(_ACCOUNT).generation
    runtime = Runtime(Settings.model_validate(values), worker="mcp")
    try:
        found = runtime.run(runtime.refresher.refresh([(_ACCOUNT, generation)], Origin(Trigger.FORCED)))
    finally:
        runtime.close()
    if found[_ACCOUNT].outcome.value != "refreshed":
        raise SystemExit(f"a refresh: {found[_ACCOUNT]}")


@contextmanager
def _session(python: str, server: _McpServer, redis_url: str) -> Iterator[tuple[IO[str], IO[str]]]:
    """Open a client's session; a line that is written has it call the tool, the answer is read."""
    with subprocess.Popen(
        [python, "session.py", server.url, redis_url, _ACCOUNT], cwd=server.folder, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "reader" / "src")},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdin, process.stdout
        process.stdin.close()


def _call(asks: IO[str], tells: IO[str]) -> str:
    asks.write("call\n")
    asks.flush()
    return tells.readline().strip()


if __name__ == "__main__":
    raise SystemExit(main())
