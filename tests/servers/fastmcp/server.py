"""PyPI's `fastmcp` with its own InMemoryOAuthProvider: a person's consent is a call of its `authorize`.

POST /token is the package's own endpoint; POST /grant gives a new person's tokens; GET /resource takes a bearer token.
"""

import os
from urllib.parse import parse_qs, urlsplit

import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth.providers import in_memory
from mcp.server.auth.provider import AuthorizationParams
from mcp.shared.auth import OAuthClientInformationFull
from pydantic import AnyUrl
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

PORT = int(os.environ["PORT"])
REDIRECT_URI = AnyUrl("http://127.0.0.1/callback")

# The package has an hour as a constant, and no setting for it.
in_memory.DEFAULT_ACCESS_TOKEN_EXPIRY_SECONDS = int(os.environ["ACCESS_TOKEN_S"])

client = OAuthClientInformationFull(
    client_id=os.environ["CLIENT_ID"],
    client_secret=os.environ["CLIENT_SECRET"],
    redirect_uris=[REDIRECT_URI],
    grant_types=["authorization_code", "refresh_token"],
    token_endpoint_auth_method="client_secret_post",
)
provider = in_memory.InMemoryOAuthProvider(base_url=f"http://127.0.0.1:{PORT}")
provider.clients[os.environ["CLIENT_ID"]] = client
server = FastMCP("a server of tests", auth=provider)


@server.custom_route("/grant", methods=["POST"])
async def grant(request: Request) -> Response:
    asked = AuthorizationParams(
        state=None,
        scopes=[],
        code_challenge="not looked at here",
        redirect_uri=REDIRECT_URI,
        redirect_uri_provided_explicitly=True,
    )
    redirect = urlsplit(await provider.authorize(client, asked))
    code = await provider.load_authorization_code(client, parse_qs(redirect.query)["code"][0])
    tokens = await provider.exchange_authorization_code(client, code)
    return JSONResponse(tokens.model_dump(exclude_none=True))


@server.custom_route("/resource", methods=["GET"])
async def resource(request: Request) -> Response:
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    lives = await provider.verify_token(token) is not None
    return JSONResponse({}, status_code=200 if lives else 401)


if __name__ == "__main__":
    print("listening", flush=True)
    uvicorn.run(server.http_app(), host="127.0.0.1", port=PORT, log_level="warning")
