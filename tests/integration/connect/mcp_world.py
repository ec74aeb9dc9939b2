"""An MCP server and its authorization server as functions: metadata, registration, pushed requests and tokens."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

import httpx

from worker.providers.discovery.fetch import DocumentClient

ISSUER: Final = "https://as.example.com"
RESOURCE: Final = "https://mcp.example.com/mcp"
METADATA: Final = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"


def _metadata() -> dict[str, Any]:
    return {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "registration_endpoint": f"{ISSUER}/register",
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
    }


@dataclass
class McpWorld:
    """Both servers. What a test sets is what they say."""

    server: dict[str, Any] = field(default_factory=_metadata)
    resource: str = RESOURCE
    scope: str = "tools"
    #: What a registration is answered with, beside what was asked for.
    registered: dict[str, Any] = field(default_factory=lambda: {"client_secret": "marker-registered"})
    refusal: dict[str, Any] | None = None
    push_refusal: tuple[int, dict[str, Any]] | None = None
    registrations: list[dict[str, Any]] = field(default_factory=list)
    #: RFC 7592: what GET and PUT of a registration are answered with; None: it is forgotten.
    managed: dict[str, Any] | None = None
    #: A registration that is put gets another secret.
    rotates_secret: bool = True
    #: Documents that were put over a registration.
    put: list[dict[str, Any]] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    posted: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    tokens: int = 0

    def documents(self) -> DocumentClient:
        """Return what fetches documents of this world."""
        return DocumentClient(transport=httpx.MockTransport(self.answer_document))

    def answer_document(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of metadata, or of a registration."""
        url = str(request.url)
        self.asked[f"{request.method} {url}"] += 1
        if url == RESOURCE:
            challenge = f'Bearer resource_metadata="{METADATA}", scope="{self.scope}"'
            return httpx.Response(401, headers={"www-authenticate": challenge})
        if url == METADATA:
            return httpx.Response(
                200, json={"resource": self.resource, "authorization_servers": [self.server["issuer"]]}
            )
        if url == f"{ISSUER}/.well-known/oauth-authorization-server":
            return httpx.Response(200, json=self.server)
        if url == self.server.get("registration_endpoint"):
            return self._register(json.loads(request.content))
        if url.startswith(f"{ISSUER}/clients/"):
            return self._manage(request)
        return httpx.Response(404)

    def _register(self, wanted: dict[str, Any]) -> httpx.Response:
        if self.refusal is not None:
            return httpx.Response(400, json=self.refusal)
        self.registrations.append(wanted)
        client_id = f"client-{len(self.registrations)}"
        found = {**wanted, "client_id": client_id}
        if wanted["token_endpoint_auth_method"] != "none":
            found |= self.registered
        return httpx.Response(201, json=found)

    def manage(self, **changed: Any) -> None:
        """Keep the first registration, as the server changed it, at its own address (RFC 7592)."""
        self.managed = {**self.registrations[0], "client_id": "client-1", **changed}

    def _manage(self, request: httpx.Request) -> httpx.Response:
        if self.managed is None:
            return httpx.Response(401, json={"error": "invalid_token"})
        if request.method == "PUT":
            self.put.append(json.loads(request.content))
            if self.rotates_secret:
                self.managed |= {"client_secret": f"marker-put-{len(self.put)}"}
        return httpx.Response(200, json=self.managed)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of the token endpoint, or of the one for pushed requests."""
        sent = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        self.posted.append((request.url.path, sent))
        if request.url.path == "/par":
            if self.push_refusal is not None:
                status, document = self.push_refusal
                return httpx.Response(status, json=document)
            return httpx.Response(
                201, json={"request_uri": f"urn:pushed:{len(self.posted)}", "expires_in": 60}
            )
        self.tokens += 1
        return httpx.Response(
            200,
            json={
                "access_token": f"marker-access-{self.tokens}",
                "refresh_token": f"marker-refresh-{self.tokens}",
                "token_type": "Bearer",
                "expires_in": 3600,
            },
        )
