"""The authorization servers that `make servers` runs: how each is asked, and what refreshd must make of its answers.

What is expected comes of what each server was seen to do (docs/servers.md). A server's program, with the lock of what it
installs, is in the folder of its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent


class Runtime(StrEnum):
    """What runs a server's program, and installs it."""

    NODE = "node"
    PYTHON = "python"
    #: Packages of Debian's archive, unpacked and not installed; our program is Python's, or what run.sh runs.
    DEBIAN = "debian"


class Kind(StrEnum):
    """What is the matter with an account."""

    HEALTHY = "healthy"
    #: Its refresh token was used once by somebody else, who got the new one.
    REPLAYED = "replayed"
    #: Its refresh token was never issued.
    DEAD = "dead"
    #: Its grant is alive, its client's secret is wrong.
    WRONG_SECRET = "wrong-secret"


@dataclass(frozen=True)
class Expected:
    """What becomes of an account, and because of what answer."""

    status: str
    reason: str | None
    because: str


@dataclass(frozen=True, kw_only=True)
class RealServer:
    """One authorization server. Paths begin at its root; amounts are in seconds."""

    name: str
    runtime: Runtime
    #: The package that its lock pins, and the version that `expected` was seen of.
    package: str
    version: str
    replayed: Expected
    dead: Expected
    wrong_secret: Expected
    token_path: str = "/token"
    #: Answers 200 to a bearer token that is alive, and 401 to others.
    resource_path: str = "/resource"
    #: POST /grant has a port of its own: the server is no program of ours.
    grants_apart: bool = False
    #: Columns of its accounts beside credentials and `token_url`.
    columns: Mapping[str, Any] = field(default_factory=dict)
    #: The provider in models/providers/presets.yaml, and which of its knobs decide a verdict here.
    preset: str
    knobs: Mapping[str, Any] = field(default_factory=dict)
    access_token_s: int = 20

    @property
    def folder(self) -> Path:
        return HERE / self.name

    def columns_with(self, *, preset: bool) -> dict[str, Any]:
        """Return the columns of its accounts: with the preset, or with the knobs of it that matter here."""
        return {**self.columns, **({"provider": self.preset} if preset else self.knobs)}

    def expected(self, kind: Kind) -> Expected:
        sick = {Kind.REPLAYED: self.replayed, Kind.DEAD: self.dead, Kind.WRONG_SECRET: self.wrong_secret}
        return sick.get(kind, _REFRESHED)


_REFRESHED: Final = Expected("active", None, "a token each time")


def _dead(because: str, reason: str = "invalid_grant") -> Expected:
    return Expected("reauthorize", reason, because)


def _misconfigured(because: str, reason: str = "invalid_client") -> Expected:
    return Expected("misconfigured", reason, because)


def _alive(because: str) -> Expected:
    return Expected("active", None, because)


SERVERS: Final = (
    RealServer(
        name="oidc-provider",
        preset="oidc-provider",
        runtime=Runtime.NODE,
        package="oidc-provider",
        version="9.13.3",
        resource_path="/me",
        replayed=_alive("a confidential client keeps its refresh token until 70 % of its life are over"),
        dead=_dead("400 invalid_grant"),
        wrong_secret=_misconfigured("401 invalid_client"),
    ),
    RealServer(
        name="node-oauth2-server",
        preset="node-oauth2-server",
        runtime=Runtime.NODE,
        package="@node-oauth/oauth2-server",
        version="5.3.0",
        columns={"client_auth": "basic_raw"},
        replayed=_dead("400 invalid_grant, and the pair that was issued lives"),
        dead=_dead("400 invalid_grant"),
        wrong_secret=_misconfigured("401 invalid_client"),
    ),
    RealServer(
        name="jmondi-oauth2-server",
        preset="jmondi-oauth2-server",
        runtime=Runtime.NODE,
        package="@jmondi/oauth2-server",
        version="4.3.7",
        knobs={
            "error_rules": [
                {
                    "match": {"error": "invalid_request", "error_description": {"contains": words}},
                    "verdict": "reauthorize",
                    "reason": "refresh_token_invalid",
                }
                for words in (
                    "Token has been revoked",
                    "Token has expired",
                    "Cannot decrypt the refresh token",
                    "Cannot verify the refresh token",
                )
            ]
        },
        replayed=_dead("400 invalid_request: Token has been revoked", "refresh_token_invalid"),
        dead=_dead("400 invalid_request: Cannot decrypt the refresh token", "refresh_token_invalid"),
        wrong_secret=_misconfigured("401 invalid_client"),
    ),
    RealServer(
        name="mcp-typescript-sdk",
        preset="mcp",
        runtime=Runtime.NODE,
        package="@modelcontextprotocol/sdk",
        version="1.32.2",
        # It takes 50 token requests in 15 minutes, of all accounts together.
        access_token_s=40,
        replayed=_dead("400 invalid_grant"),
        dead=_dead("400 invalid_grant"),
        wrong_secret=_misconfigured("400 invalid_client"),
    ),
    RealServer(
        name="mcp",
        preset="mcp",
        runtime=Runtime.PYTHON,
        package="mcp",
        version="2.3.0",
        replayed=_dead("400 invalid_grant"),
        dead=_dead("400 invalid_grant"),
        wrong_secret=_misconfigured("401 invalid_client"),
    ),
    RealServer(
        name="fastmcp",
        preset="fastmcp",
        runtime=Runtime.PYTHON,
        package="fastmcp",
        version="4.2.3",
        replayed=_dead("401 invalid_grant"),
        dead=_dead("401 invalid_grant"),
        wrong_secret=_misconfigured("401 invalid_client"),
    ),
    RealServer(
        name="django-oauth-toolkit",
        preset="django-oauth-toolkit",
        runtime=Runtime.PYTHON,
        package="django-oauth-toolkit",
        version="3.4.1",
        token_path="/o/token/",
        columns={"client_auth": "basic"},
        replayed=_dead("400 invalid_grant, and the whole grant is dead"),
        dead=_dead("400 invalid_grant"),
        wrong_secret=_misconfigured("401 invalid_client, WWW-Authenticate: Bearer"),
    ),
    RealServer(
        name="canaille",
        preset="canaille",
        runtime=Runtime.PYTHON,
        package="canaille",
        version="0.3.6",
        token_path="/oauth/token",
        resource_path="/oauth/userinfo",
        # The refresh token ends with its access token.
        access_token_s=60,
        replayed=_dead("400 invalid_grant, and the pair that was issued lives"),
        dead=_dead("400 invalid_grant"),
        wrong_secret=_misconfigured("401 invalid_client"),
    ),
    RealServer(
        name="cloudflare-workers-oauth-provider",
        preset="cloudflare-workers-oauth-provider",
        runtime=Runtime.NODE,
        package="@cloudflare/workers-oauth-provider",
        version="1.2.3",
        # It takes no shorter one.
        access_token_s=60,
        replayed=_alive("the refresh token before the newest works: a third pair, and the second is dead"),
        dead=_dead("400 invalid_grant"),
        wrong_secret=_misconfigured("401 invalid_client"),
    ),
    RealServer(
        name="better-auth",
        preset="better-auth",
        runtime=Runtime.NODE,
        package="@better-auth/oauth-provider",
        version="1.7.5",
        token_path="/api/auth/oauth2/token",
        resource_path="/api/auth/oauth2/userinfo",
        replayed=_dead("400 invalid_grant, and every grant of that person at that client is dead"),
        dead=_dead("400 invalid_grant"),
        wrong_secret=_misconfigured("400 invalid_client"),
    ),
    RealServer(
        name="doorkeeper",
        preset="doorkeeper",
        runtime=Runtime.DEBIAN,
        package="ruby-doorkeeper",
        version="5.5.0",
        token_path="/oauth/token",
        replayed=_alive("a spent refresh token works until an access token of the new pair is used"),
        dead=_dead("400 invalid_grant"),
        wrong_secret=_misconfigured("401 invalid_client, WWW-Authenticate: Bearer"),
    ),
    RealServer(
        name="glewlwyd",
        preset="glewlwyd",
        runtime=Runtime.DEBIAN,
        package="glewlwyd",
        version="2.7.5",
        token_path="/api/oidc/token",
        resource_path="/api/oidc/userinfo",
        grants_apart=True,
        columns={"rotates": True},
        knobs={"error_rules": [{"status": 400, "verdict": "reauthorize", "reason": "refresh_token_invalid"}]},
        replayed=_dead("400 and an empty body, as for everything", "refresh_token_invalid"),
        dead=_dead("400 and an empty body, as for everything", "refresh_token_invalid"),
        wrong_secret=_dead(
            "400 and an empty body; the refresh token is spent by it", "refresh_token_invalid"
        ),
    ),
)
