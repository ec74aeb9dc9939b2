"""An MCP server of PyPI's `fastmcp`, with its own InMemoryOAuthProvider: clients register themselves, everybody consents."""

import os

import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth.auth import ClientRegistrationOptions
from fastmcp.server.auth.providers.in_memory import InMemoryOAuthProvider

PORT = int(os.environ["PORT"])
URL = f"http://127.0.0.1:{PORT}"

provider = InMemoryOAuthProvider(
    base_url=URL,
    client_registration_options=ClientRegistrationOptions(
        enabled=True, valid_scopes=["tools"], default_scopes=["tools"]
    ),
    required_scopes=["tools"],
)
server = FastMCP("notes", auth=provider)

if __name__ == "__main__":
    print("listening", flush=True)
    uvicorn.run(server.http_app(), host="127.0.0.1", port=PORT, log_level="warning")
