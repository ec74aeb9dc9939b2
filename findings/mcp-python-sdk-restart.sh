#!/bin/sh
# mcp 2.3.0 (PyPI), its own OAuth client at its own authorization server; access tokens of 3 seconds.
#
# Expected: a process that starts with stored tokens, of which the access token has ended, refreshes as the process before it did.
# Seen: it asks for a new consent. What is stored (expires_in, no point in time) does not tell it that the token has ended,
# so it sends it; to the 401 it answers with the whole authorization, and the refresh token that it has, which works, is
# never sent. Within one process it refreshes.

NAME=mcp TOKEN_PATH=/token
. "$(dirname "$0")/server.sh"
stop
sed -i.long 's/LIFETIME_S = 3600/LIFETIME_S = 3/' connection.py
run="venv/bin/python connection.py"
sed -i.long 's/print("listening", flush=True)/import logging; logging.disable(); print("listening", flush=True)/' connection.py
start

cat >client.py <<'PROGRAM'
"""Calls the tool as many times as the argument says, 4 seconds apart; prints the consents and the last answer."""
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
consents = []


class Files:
    async def get(self, name, kind):
        return kind.model_validate_json(Path(name).read_text()) if Path(name).exists() else None

    async def get_tokens(self):
        return await self.get("tokens.json", OAuthToken)

    async def set_tokens(self, tokens):
        Path("tokens.json").write_text(tokens.model_dump_json())

    async def get_client_info(self):
        return await self.get("client.json", OAuthClientInformationFull)

    async def set_client_info(self, client):
        Path("client.json").write_text(client.model_dump_json())


async def consent(url):
    async with httpx2.AsyncClient() as browser:
        consents.append(parse_qs(urlsplit((await browser.get(url)).headers["location"]).query))


async def callback():
    return AuthorizationCodeResult(**{name: value[0] for name, value in consents[-1].items()})


async def main():
    url = os.environ["SERVER"] + "/mcp"
    wanted = OAuthClientMetadata(
        client_name="any", redirect_uris=["http://127.0.0.1/callback"], scope="tools",
        grant_types=["authorization_code", "refresh_token"],
    )
    auth = OAuthClientProvider(url, wanted, Files(), consent, callback)
    async with httpx2.AsyncClient(auth=auth) as http, Client(streamable_http_client(url, http_client=http)) as client:
        for number in range(int(sys.argv[1])):
            await asyncio.sleep(4 if number else 0)
            answer = await client.call_tool("whoami", {})
    print(f"{len(consents)},", answer.content[0].text.split(" for ")[0])


asyncio.run(main())
PROGRAM

export SERVER
seen "a new process, two calls 4 s apart: consents, last token" "1, token 2" "$(venv/bin/python client.py 2)"
cp tokens.json before.json
sleep 4
seen "the next process: consents, last token" "1, token 3" "$(venv/bin/python client.py 1)"
status=$(curl --silent --output body --write-out '%{http_code}' "$SERVER$TOKEN_PATH" --data grant_type=refresh_token \
	--data-urlencode "refresh_token=$(field refresh_token <before.json)" --data-urlencode "resource=$SERVER/mcp" \
	--data-urlencode "client_id=$(field client_id <client.json)" --data-urlencode "client_secret=$(field client_secret <client.json)")
seen "the refresh token that it had from the start, by hand" 200 "$status"
