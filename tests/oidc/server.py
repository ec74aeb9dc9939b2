"""An authorization server that nobody here wrote: npm's `oidc-provider`, which rotates and revokes on reuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.server_binaries import ServerMissing
from tests.support.server_process import ServerProcess
from tests.support.waiting import PATIENCE_S

HERE: Final = Path(__file__).parent
_ANSWER_S: Final = 5.0
#: Client metadata: RFC 7591 section 2.
Client = Mapping[str, object]

DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"
REFRESHING: Final = ("authorization_code", "refresh_token")
#: RFC 8252 section 7.3: any port of a loopback redirect is the client's.
REDIRECT_URI: Final = "http://127.0.0.1/callback"


def client(client_id: str, **metadata: object) -> Client:
    """Describe a client that may be granted refresh tokens and sits on somebody's own machine."""
    return {
        "client_id": client_id,
        "application_type": "native",
        "grant_types": list(REFRESHING),
        "response_types": ["code"],
        "redirect_uris": [REDIRECT_URI],
        **metadata,
    }


class AuthorizationServer(ServerProcess):
    """oidc-provider on a loopback port.

    Args:
        directory: for its configuration and log.
        clients: who may ask.
        access_token_s: how long access tokens live.
        resource: it serves a resource at /mcp, registers clients, and wants requests pushed.

    Raises:
        ServerMissing: node is not here, or the package is not installed.
    """

    def __init__(
        self,
        directory: Path,
        clients: Sequence[Client],
        *,
        access_token_s: int = 3600,
        resource: bool = False,
    ) -> None:
        folder = directory / "oidc"
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__("oidc-provider", folder, None)
        self._node = _node()
        self._clients = list(clients)
        self._access_token_s = access_token_s
        self._resource = resource

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token_url(self) -> str:
        return f"{self.issuer}/token"

    @property
    def authorize_url(self) -> str:
        return f"{self.issuer}/auth"

    @property
    def device_url(self) -> str:
        return f"{self.issuer}/device/auth"

    @property
    def userinfo_url(self) -> str:
        return f"{self.issuer}/me"

    @property
    def resource_url(self) -> str:
        return f"{self.issuer}/mcp"

    def tally(self) -> dict[str, Any]:
        """Return what its token endpoint did: `refreshed`, `issued`, `revoked`, `errors` by their words."""
        found: dict[str, Any] = httpx.get(f"{self.issuer}/tally", timeout=PATIENCE_S).json()
        return found

    def _command(self) -> list[str]:
        configuration = self.folder / "configuration.json"
        configuration.write_text(
            json.dumps(
                {
                    "port": self.port,
                    "accessTokenS": self._access_token_s,
                    "clients": self._clients,
                    "resource": self.resource_url if self._resource else None,
                }
            )
        )
        return [self._node, str(HERE / "server.mjs"), str(configuration)]

    def _answers(self) -> bool:
        if b"\nlistening\n" not in b"\n" + self.log.read_bytes():
            return False
        try:
            return httpx.get(f"{self.issuer}/tally", timeout=_ANSWER_S).is_success
        except httpx.TransportError:
            return False


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        raise ServerMissing(
            "no node: these tests run npm's oidc-provider; install Node.js 20 or later with npm"
        )
    if not (HERE / "node_modules" / "oidc-provider").is_dir():
        raise ServerMissing("oidc-provider is not installed: `make test` does it, or `npm ci` in tests/oidc")
    return node
