# Read after server.sh by the scripts beside it that try the Python SDK's own client of an MCP server: writes client.py.
#
#     python client.py CALLS
#
# It calls the tool of $SERVER/mcp so many times, 4 seconds apart, with what clientid.json and tokens.json hold, and prints how
# often a person was asked, who consents at once, and the token of the last call. With $ANSWER the token endpoint is down
# after the first call, with that answer, until the person is asked; before.json keeps the tokens of then.

cat >client.py <<'PROGRAM'
import asyncio
import logging
import os
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

logging.disable()
DOWN, TOKENS, CLIENT = Path("down"), Path("tokens.json"), Path("clientid.json")
consents = []


class Files:
    async def get_tokens(self):
        return OAuthToken.model_validate_json(TOKENS.read_text()) if TOKENS.exists() else None

    async def set_tokens(self, tokens):
        TOKENS.write_text(tokens.model_dump_json())

    async def get_client_info(self):
        return OAuthClientInformationFull.model_validate_json(CLIENT.read_text()) if CLIENT.exists() else None

    async def set_client_info(self, client):
        CLIENT.write_text(client.model_dump_json())


async def consent(url):
    DOWN.unlink(missing_ok=True)
    async with httpx2.AsyncClient() as browser:
        consents.append(parse_qs(urlsplit((await browser.get(url)).headers["location"]).query))


async def callback():
    return AuthorizationCodeResult(**{name: value[0] for name, value in consents[-1].items()})


async def main():
    url = os.environ["SERVER"] + "/mcp"
    wanted = OAuthClientMetadata(
        client_name="any",
        redirect_uris=["http://127.0.0.1/callback"],
        scope="tools",
        grant_types=["authorization_code", "refresh_token"],
        token_endpoint_auth_method="none",
    )
    auth = OAuthClientProvider(url, wanted, Files(), consent, callback)
    async with httpx2.AsyncClient(auth=auth) as http, Client(streamable_http_client(url, http_client=http)) as client:
        for number in range(int(sys.argv[1])):
            if number:
                await asyncio.sleep(4)
            answer = await client.call_tool("whoami", {})
            if "ANSWER" in os.environ and not number:
                Path("before.json").write_text(TOKENS.read_text())
                DOWN.write_text(os.environ["ANSWER"])
    print(f"{len(consents)},", answer.content[0].text.split(" for ")[0])


asyncio.run(main())
PROGRAM

# by_hand TOKENS CLIENT: the status of a refresh with the refresh token and client id of these files.
by_hand() {
	curl --silent --output body --write-out '%{http_code}' "$SERVER$TOKEN_PATH" --data grant_type=refresh_token \
		--data-urlencode "refresh_token=$(field refresh_token <"$1")" --data-urlencode "client_id=$(field client_id <"$2")" \
		--data-urlencode "resource=$SERVER/mcp"
}
export SERVER
