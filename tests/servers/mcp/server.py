"""The authorization routes of PyPI's `mcp`, with a provider of ours in memory: the package leaves storage to its user.

POST /token is the package's own endpoint; POST /grant gives a new person's tokens; GET /resource takes a bearer token.
A refresh token is spent by its use.
"""

import os
import secrets
import time

import uvicorn
from mcp.server.auth.provider import AccessToken, RefreshToken
from mcp.server.auth.routes import create_auth_routes
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PORT = int(os.environ["PORT"])
CLIENT_ID = os.environ["CLIENT_ID"]
LIFETIME_S = int(os.environ["ACCESS_TOKEN_S"])


class Provider:
    """The methods of the package's OAuthAuthorizationServerProvider that a refresh asks for."""

    def __init__(self) -> None:
        self.client = OAuthClientInformationFull(
            client_id=CLIENT_ID,
            client_secret=os.environ["CLIENT_SECRET"],
            redirect_uris=[AnyHttpUrl("http://127.0.0.1/callback")],
            grant_types=["authorization_code", "refresh_token"],
            token_endpoint_auth_method="client_secret_post",
        )
        self.access_tokens: dict[str, AccessToken] = {}
        self.refresh_tokens: dict[str, RefreshToken] = {}

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.client if client_id == CLIENT_ID else None

    async def load_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: str
    ) -> RefreshToken | None:
        return self.refresh_tokens.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        del self.refresh_tokens[refresh_token.token]
        return self.issue()

    def issue(self) -> OAuthToken:
        access, refresh = secrets.token_hex(16), secrets.token_hex(16)
        ends_at = int(time.time()) + LIFETIME_S
        self.access_tokens[access] = AccessToken(
            token=access, client_id=CLIENT_ID, scopes=[], expires_at=ends_at
        )
        self.refresh_tokens[refresh] = RefreshToken(token=refresh, client_id=CLIENT_ID, scopes=[])
        return OAuthToken(access_token=access, refresh_token=refresh, expires_in=LIFETIME_S)


provider = Provider()


async def grant(request: Request) -> Response:
    return JSONResponse(provider.issue().model_dump(exclude_none=True))


async def resource(request: Request) -> Response:
    found = provider.access_tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
    lives = found is not None and (found.expires_at or 0) > time.time()
    return JSONResponse({}, status_code=200 if lives else 401)


app = Starlette(
    routes=[
        *create_auth_routes(provider, AnyHttpUrl(f"http://127.0.0.1:{PORT}")),
        Route("/grant", grant, methods=["POST"]),
        Route("/resource", resource),
    ]
)

if __name__ == "__main__":
    print("listening", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")
