"""One authorization server for all tests, with a client of each kind; and refreshd as its users start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from models.providers.assertion import SigningAlgorithm
from models.tables.account import Account
from tests.oidc.keys import public_set
from tests.oidc.server import DEVICE_CODE, AuthorizationServer, Client, client
from tests.support.fleet import ROOT
from tests.support.waiting import PATIENCE_S
from worker.crypto.cipher import generate_key
from worker.db.accounts.stored import Accounts
from worker.db.engine import make_engine
from worker.settings import Settings

#: 32 bytes and more: what HS256 asks of a key (RFC 7518 section 3.2).
SECRET: Final = "a client's secret of more than 32 characters"
SIGNED_BY: Final = (
    SigningAlgorithm.RS256,
    SigningAlgorithm.PS256,
    SigningAlgorithm.ES256,
    SigningAlgorithm.ED25519,
)
#: A command starts a process, and another for the browser; one that hangs is waited for so long, and no other.
_COMMAND_S: Final = 3 * PATIENCE_S


def _clients() -> Iterator[Client]:
    for method in ("client_secret_post", "client_secret_basic", "client_secret_jwt"):
        yield client(method, client_secret=SECRET, token_endpoint_auth_method=method)
    for algorithm in SIGNED_BY:
        yield client(
            f"private_key_jwt-{algorithm}",
            token_endpoint_auth_method="private_key_jwt",
            token_endpoint_auth_signing_alg=algorithm.value,
            jwks=public_set(algorithm),
        )
    yield client(
        "connect",
        client_secret=SECRET,
        token_endpoint_auth_method="client_secret_post",
        redirect_uris=["http://127.0.0.1/connect/callback"],
    )
    yield client("public", token_endpoint_auth_method="none")
    yield client("dpop", token_endpoint_auth_method="none", dpop_bound_access_tokens=True)
    yield client(
        "dpop-with-secret",
        client_secret=SECRET,
        token_endpoint_auth_method="client_secret_basic",
        dpop_bound_access_tokens=True,
    )
    yield client(
        "device",
        token_endpoint_auth_method="none",
        grant_types=[DEVICE_CODE, "refresh_token"],
        response_types=[],
        redirect_uris=[],
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthorizationServer]:
    running = AuthorizationServer(tmp_path_factory.mktemp("oidc"), list(_clients()))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def resource(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthorizationServer]:
    """A server that clients register themselves with, and a protected resource of it."""
    running = AuthorizationServer(tmp_path_factory.mktemp("resource"), [], resource=True)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@dataclass(frozen=True)
class Ran:
    """How one command ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass
class Deployment:
    """Stores of one test alone, and refreshd's commands on them."""

    environment: dict[str, str]
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        names = {name.removeprefix("REFRESHD_").lower(): value for name, value in self.environment.items()}
        return Settings.model_validate(names)

    def stored(self, account: str) -> Account | None:
        """Return an account as it is stored."""
        engine = make_engine(self.environment["REFRESHD_DATABASE_URL"])
        found = Accounts(engine).find([account]).get(account)
        engine.dispose()
        return found

    def start(self, *words: str, login: str | None = None) -> subprocess.Popen[str]:
        """Start a command. `login`: whose browser opens the pages that it shows."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("REFRESHD_") and name not in {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"}
        }
        if login is not None:
            inherited["BROWSER"] = f"{sys.executable} -m tests.oidc.browser {login} %s"
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", *words],
            cwd=ROOT, env={**inherited, **self.environment}, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.running.append(process)
        return process

    def refreshd(self, *words: str, login: str | None = None) -> Ran:
        """Run a command to its end."""
        return self.ended(self.start(*words, login=login))

    def ended(self, process: subprocess.Popen[str]) -> Ran:
        """Wait for a command's end.

        Raises:
            AssertionError: it has none; with what it said.
        """
        try:
            stdout, stderr = process.communicate(timeout=_COMMAND_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its browser has its end of the pipes, too
            said = "\n".join(process.communicate())
            raise AssertionError(f"no end within {_COMMAND_S:g} s: {process.args!r}\n{said}") from None
        return Ran(process.returncode, stdout, stderr)


@pytest.fixture
def deployment(sqlite_url: str, redis_url: str, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(
        {
            "REFRESHD_DATABASE_URL": sqlite_url,
            "REFRESHD_REDIS_URL": redis_url,
            "REFRESHD_KEYS": generate_key(),
            "REFRESHD_DATA_DIR": str(tmp_path / "data"),
            "REFRESHD_ALLOW_HTTP_HOSTS": "127.0.0.1",
        }
    )
    yield made
    for process in made.running:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
