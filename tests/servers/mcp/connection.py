"""An MCP server with a tool, and its own authorization server: PyPI's `mcp`, with a provider of ours in memory.

Clients register themselves, everybody consents, a refresh token is spent by its use. The tool `whoami` tells which of the
tokens it was called with.
"""

import os
import secrets
import time

import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull as Client
from mcp.shared.auth import OAuthToken

PORT = int(os.environ["PORT"])
URL = f"http://127.0.0.1:{PORT}"
LIFETIME_S = 3600
CODE_S = 60


class Provider:
    """The methods of the package's OAuthAuthorizationServerProvider that clients ask for."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.access_tokens: dict[str, AccessToken] = {}
        self.refresh_tokens: dict[str, RefreshToken] = {}
        self.serials: dict[str, int] = {}

    async def get_client(self, client_id: str) -> Client | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: Client) -> None:
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client: Client, params: AuthorizationParams) -> str:
        code = secrets.token_urlsafe(24)
        self.codes[code] = AuthorizationCode(
            code=code,
            client_id=client.client_id,
            scopes=params.scopes or [],
            expires_at=time.time() + CODE_S,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            resource=params.resource,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
        )
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state)

    async def load_authorization_code(
        self, client: Client, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: Client, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self._issue(client, authorization_code.scopes, authorization_code.resource)

    async def load_refresh_token(self, client: Client, refresh_token: str) -> RefreshToken | None:
        return self.refresh_tokens.get(refresh_token)

    async def exchange_refresh_token(
        self, client: Client, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        del self.refresh_tokens[refresh_token.token]
        return self._issue(client, scopes or refresh_token.scopes, refresh_token.resource)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.access_tokens.get(token)

    def _issue(self, client: Client, scopes: list[str], resource: str | None) -> OAuthToken:
        access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        client_id, ends_at = client.client_id, int(time.time()) + LIFETIME_S
        self.access_tokens[access] = AccessToken(
            token=access, client_id=client_id, scopes=scopes, resource=resource, expires_at=ends_at
        )
        self.refresh_tokens[refresh] = RefreshToken(
            token=refresh, client_id=client_id, scopes=scopes, resource=resource
        )
        self.serials[access] = len(self.serials) + 1
        return OAuthToken(
            access_token=access, refresh_token=refresh, expires_in=LIFETIME_S, scope=" ".join(scopes)
        )


provider = Provider()
server = MCPServer(
    "notes",
    auth_server_provider=provider,
    auth=AuthSettings(
        issuer_url=URL,
        resource_server_url=f"{URL}/mcp",
        validate_token_resource=True,
        required_scopes=["tools"],
        client_registration_options=ClientRegistrationOptions(
            enabled=True, valid_scopes=["tools"], default_scopes=["tools"]
        ),
    ),
)


@server.tool()
def whoami() -> str:
    """Tell which token this is."""
    token = get_access_token()
    return f"token {provider.serials[token.token]} for {token.resource}"


if __name__ == "__main__":
    print("listening", flush=True)
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=PORT, log_level="warning")
