"""One real authorization server, running on loopback, and the accounts that it grants."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx

from tests.servers.catalogue import Kind, RealServer
from tests.support.server_process import ServerProcess, free_port

CLIENT_SECRET: Final = "the secret of these tests' client"
WRONG_SECRET: Final = "another secret"
#: Some people who share one client, as in every deployment.
HEALTHY: Final = 3
_ANSWER_S: Final = 30.0

Row = dict[str, Any]


class RunningServer(ServerProcess):
    """A server's program on a loopback port.

    Args:
        server: which one.
        command: what runs its program.
        folder: where it was installed, and is run.
        client_id: the client that every account has.
        columns: of every account, beside credentials and `token_url`.
    """

    def __init__(
        self, server: RealServer, command: list[str], folder: Path, client_id: str, columns: Row
    ) -> None:
        super().__init__(server.name, folder, None)
        self.server = server
        self._program = command
        self._client_id = client_id
        self._columns = columns
        #: Where people consent, if not at the server itself.
        self._grant_port = free_port() if server.grants_apart else None
        # A connection that is kept is one that the server may close the moment it is used again.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(timeout=_ANSWER_S, trust_env=False, limits=limits)

    @property
    def token_url(self) -> str:
        return self._url(self.server.token_path)

    def accepts(self, access_token: str) -> bool:
        """Return whether the server takes an access token."""
        headers = {"authorization": f"Bearer {access_token}"}
        return self._http.get(self._url(self.server.resource_path), headers=headers).is_success

    def rows(self) -> Iterator[tuple[Kind, Row]]:
        """Have people consent; yields an account of each kind, as a line of an accounts file."""
        for number in range(1, HEALTHY + 1):
            yield Kind.HEALTHY, self._row(f"{Kind.HEALTHY}-{number}")
        replayed = self._row(Kind.REPLAYED)
        self._use(replayed["refresh_token"])
        yield Kind.REPLAYED, replayed
        yield Kind.DEAD, self._row(Kind.DEAD) | {"refresh_token": "never-issued"}
        yield Kind.WRONG_SECRET, self._row(Kind.WRONG_SECRET) | {"client_secret": WRONG_SECRET}

    def close(self) -> None:
        """Stop it."""
        self._http.close()
        self.stop()

    def _row(self, name: str) -> Row:
        issued_at = time.time()
        answer = (
            self._http.post(f"http://127.0.0.1:{self._grant_port or self.port}/grant")
            .raise_for_status()
            .json()
        )
        return {
            "id": f"{self.server.name}.{name}",
            "client_id": self._client_id,
            "client_secret": CLIENT_SECRET,
            "token_url": self.token_url,
            "issued_at": issued_at,
            **{name: answer[name] for name in ("access_token", "refresh_token", "expires_in")},
            **self._columns,
        }

    def _use(self, refresh_token: str) -> None:
        """Refresh as somebody else, who keeps what comes of it."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": self._client_id}
        self._http.post(self.token_url, data={**form, "client_secret": CLIENT_SECRET}).raise_for_status()

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _command(self) -> list[str]:
        settings = {
            "PORT": str(self.port),
            "GRANT_PORT": str(self._grant_port or self.port),
            "CLIENT_ID": self._client_id,
            "CLIENT_SECRET": CLIENT_SECRET,
            "ACCESS_TOKEN_S": str(self.server.access_token_s),
        }
        return ["env", *(f"{name}={value}" for name, value in settings.items()), *self._program]

    def _answers(self) -> bool:
        if b"listening" not in self.log.read_bytes():
            return False
        try:
            self._http.get(self._url(self.server.resource_path))
        except httpx.TransportError:
            return False
        return True
