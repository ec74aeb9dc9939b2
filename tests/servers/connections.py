"""Resources by their address alone: `accounts authorize --mcp`, then three refreshes, at servers that nobody here wrote.

    python -m tests.servers.connections [NAME...] [--folder FOLDER]

Each server's program is the `connection` in its folder, installed from its lock; servers without one are passed over. Where the folder has a `session` too, a client of the Model
Context Protocol calls a tool with the token that stands in Redis, in one session across the refreshes; else each token is shown to the
resource. Exit code 1 where a step failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

import httpx

from models.tables.attempt import Trigger
from refreshd_reader import Reader
from tests.servers.catalogue import HERE, SERVERS, RealServer
from tests.servers.installing import InstallFailed, RuntimeAbsent, install
from tests.support.fleet import ROOT
from tests.support.server_process import ServerFailed, ServerProcess, sigterm_ends_as_ctrl_c_does
from tests.support.services import redis_server
from tests.support.waiting import PATIENCE_S
from worker.crypto.cipher import generate_key
from worker.db.accounts.clients import Clients
from worker.db.engine import make_engine
from worker.db.intake.issuers import Registrations
from worker.refresh.attempt import Origin
from worker.runtime import Runtime
from worker.settings import Settings

ACCOUNT: Final = "notes"
REFRESHES: Final = 3
_NAMES: Final = tuple(one.name for one in SERVERS if list(one.folder.glob("connection.*")))


class StepFailed(RuntimeError):
    """What a server or a command did instead."""


class McpServer(ServerProcess):
    """A server's `connection` on a loopback port."""

    def __init__(self, name: str, folder: Path, program: str, **environment: str) -> None:
        super().__init__(name, folder, None)
        self._program = program
        self._environment = [f"{variable}={value}" for variable, value in environment.items()]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def _command(self) -> list[str]:
        [file] = self.folder.glob("connection.*")
        return ["env", f"PORT={self.port}", *self._environment, self._program, file.name]

    def _answers(self) -> bool:
        try:
            return self.status() == httpx.codes.UNAUTHORIZED
        except httpx.TransportError:
            return False

    def status(self, token: str | None = None) -> int:
        """Return what the resource answers."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return httpx.get(self.url, headers=headers, trust_env=False, timeout=PATIENCE_S).status_code


def main() -> int:
    """Run, and print what came of each server."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.connections")
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *(one.name for one in SERVERS)])
    parser.add_argument("--folder", type=Path, help="install here: what is installed is not installed again")
    arguments = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    failed = False
    with TemporaryDirectory(prefix="refreshd-mcp-") as temporary:
        for one in SERVERS:
            if one.name not in _NAMES or (arguments.names and one.name not in arguments.names):
                continue
            folder = Path(temporary) / one.name
            folder.mkdir()
            try:
                _connected(one, (arguments.folder or folder) / one.name, folder)
                words = "an address was enough"
            except RuntimeAbsent as error:
                words = f"LEFT OUT: {error}"
            except (InstallFailed, ServerFailed, StepFailed) as error:
                failed, words = True, f"FAILED: {error}"
            print(f"{one.package} {one.version}: {words}", flush=True)
    return 1 if failed else 0


def _connected(one: RealServer, place: Path, folder: Path) -> None:
    [program, *_] = install(one, place)
    server = McpServer(one.name, place, program)
    with redis_server(folder) as redis:
        server.start()
        try:
            _run(server, redis.url, folder, program)
        finally:
            server.stop()


def _run(server: McpServer, redis_url: str, folder: Path, program: str) -> None:
    settings = new_settings(folder, redis_url)
    refreshd(settings, "accounts", "authorize", ACCOUNT, "--mcp", server.url)
    with _shown(server, redis_url, program) as call:
        seen = [call()]
        for _ in range(REFRESHES):
            refresh(settings)
            seen.append(call())
    print(f"  {_client(settings)}; {', '.join(seen)}", flush=True)
    if len(set(seen)) != REFRESHES + 1 or not all(server.url in one for one in seen):
        raise StepFailed(f"expected {REFRESHES + 1} tokens for {server.url}; found {seen}")


def new_settings(folder: Path, redis_url: str) -> dict[str, str]:
    """Return the environment of an empty installation."""
    settings = {
        "REFRESHD_DATABASE_URL": f"sqlite:///{folder / 'refreshd.db'}",
        "REFRESHD_REDIS_URL": redis_url,
        "REFRESHD_KEYS": generate_key(),
        "REFRESHD_DATA_DIR": str(folder / "data"),
        "REFRESHD_ALLOW_HTTP_HOSTS": "127.0.0.1",
    }
    refreshd(settings, "db", "upgrade")
    return settings


def refreshd(settings: dict[str, str], *words: str) -> None:
    """Run one of refreshd's commands.

    Raises:
        StepFailed: it failed.
    """
    environment = {**os.environ, **settings, "BROWSER": f"{sys.executable} -m tests.oidc.browser alice %s"}
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", *words], cwd=ROOT, env=environment, check=False,
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode:
        raise StepFailed(f"refreshd {' '.join(words)}: {done.stderr[-1500:]}")


def read(settings: dict[str, str]) -> Settings:
    """Return an environment as settings."""
    values = {name.removeprefix("REFRESHD_").lower(): value for name, value in settings.items()}
    return Settings.model_validate(values)


def refresh(settings: dict[str, str]) -> None:
    """Refresh the account as a worker does."""
    with Reader.from_url(settings["REFRESHD_REDIS_URL"]) as reader:
        generation = reader.get(ACCOUNT).generation
    runtime = Runtime(read(settings), worker="mcp")
    try:
        found = runtime.run(runtime.refresher.refresh([(ACCOUNT, generation)], Origin(Trigger.FORCED)))
    finally:
        runtime.close()
    if found[ACCOUNT].outcome.value != "refreshed":
        raise StepFailed(f"a refresh: {found[ACCOUNT]}")


def _client(settings: dict[str, str]) -> str:
    """Return what the server gave: a client's way to authenticate, and whether its secret ends."""
    engine = make_engine(settings["REFRESHD_DATABASE_URL"])
    [client] = Clients(engine).all()
    registration = Registrations(engine).find(client.name)
    engine.dispose()
    managed = registration is not None and registration.is_managed
    ends = "without an end" if client.secret_expires_at is None else "with an end"
    return f"client_auth {client.client_auth}, {ends}{', managed' if managed else ''}"


@contextmanager
def _shown(server: McpServer, redis_url: str, program: str) -> Iterator[Callable[[], str]]:
    """Yield what shows the account's token to the resource: a call of a tool in a client's session, where the server has one."""
    session = next(HERE.glob(f"{server.name}/session.*"), None)
    if session is None:
        yield lambda: look(server, redis_url)
        return
    with subprocess.Popen(
        [program, session.name, server.url, redis_url, ACCOUNT], cwd=server.folder, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "reader" / "src")},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        asks, tells = process.stdin, process.stdout
        yield lambda: _call(asks, tells)
        asks.close()


def _call(asks: IO[str], tells: IO[str]) -> str:
    asks.write("call\n")
    asks.flush()
    return tells.readline().strip()


def look(server: McpServer, redis_url: str) -> str:
    with Reader.from_url(redis_url) as reader:
        token = reader.get(ACCOUNT)
    status = server.status(token.access_token)
    refused = status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
    return (
        f"token {token.generation} {'refused' if refused else 'for'} {'' if refused else server.url}".strip()
    )


if __name__ == "__main__":
    raise SystemExit(main())
