#!/bin/sh
# The OAuth clients of @modelcontextprotocol/sdk 1.32.2 (npm) and of mcp 2.3.0 (PyPI) at an MCP server whose token endpoint
# is down for a moment: 503, once with a page, once with the code that RFC 6749 has for it (section 4.1.2.1), for which both
# SDKs have a name.
#
# Expected: the refresh fails, the grant stays, and is tried again.
# Seen: both ask the person for a new consent. TypeScript does so for the page, and raises for the code; Python does so for
# whatever is not a 200. The refresh token is as good as before.

NAME=mcp-typescript-sdk TOKEN_PATH=/token
. "$(dirname "$0")/server.sh"
stop
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mcp==2.3.0 >install.log 2>&1 || { cat install.log; exit 2; }
sed -i.up "s#^app.use(mcpAuthRouter#app.use('/token', (request, answer, next) => (existsSync('down') ? answer.status(503).type(existsSync('code') ? 'json' : 'html').send(readFileSync('down', 'utf8')) : next()));\n&#
s#^import express.*#&\nimport { existsSync, readFileSync } from 'node:fs';#
s#InvalidGrantError, #&InvalidTokenError, #
s#^  granted = .*#&\n  async verifyAccessToken(token) { return super.verifyAccessToken(token).catch(() => { throw new InvalidTokenError('ended'); }); }#
s#return { ...tokens, refresh_token#return { ...tokens, expires_in: 2, refresh_token#" connection.mjs
run="node connection.mjs"
start

cat >client.mjs <<'PROGRAM'
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const { SERVER, ANSWER } = process.env;
let consents = 0, kept = {};
const provider = {
  redirectUrl: 'http://127.0.0.1/callback',
  clientMetadata: { client_name: 'any', redirect_uris: ['http://127.0.0.1/callback'], scope: 'tools', token_endpoint_auth_method: 'none' },
  clientInformation: () => kept.client, saveClientInformation: (client) => { kept.client = client; },
  tokens: () => kept.tokens, saveTokens: (tokens) => { kept.tokens = tokens; },
  codeVerifier: () => kept.verifier, saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  redirectToAuthorization: (url) => { consents += 1; kept.page = url; },
};
const transport = () => new StreamableHTTPClientTransport(new URL(`${SERVER}/mcp`), { authProvider: provider });
const connect = () => new Client({ name: 'any', version: '1' }).connect(transport()).then(() => 'connected', (error) => error.constructor.name);
await connect();
const redirect = await fetch(kept.page, { redirect: 'manual' });
await transport().finishAuth(new URL(redirect.headers.get('location')).searchParams.get('code'));
kept.tokens = { ...kept.tokens, access_token: 'ended' };
writeFileSync('down', ANSWER);
const came = await connect();
rmSync('down');
writeFileSync('left.json', JSON.stringify({ ...kept.client, refresh_token: kept.tokens?.refresh_token }));
console.log(`${consents}, ${came}`);
PROGRAM
cat >client.py <<'PROGRAM'
import asyncio
import json
import logging
import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

logging.disable()
consents = []


class Memory:
    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def consent(url):
    Path("down").unlink(missing_ok=True)
    async with httpx2.AsyncClient() as browser:
        consents.append(parse_qs(urlsplit((await browser.get(url)).headers["location"]).query))


async def callback():
    return AuthorizationCodeResult(**{name: value[0] for name, value in consents[-1].items()})


async def main():
    url, memory = os.environ["SERVER"] + "/mcp", Memory()
    wanted = OAuthClientMetadata(
        client_name="any", redirect_uris=["http://127.0.0.1/callback"], scope="tools",
        grant_types=["authorization_code", "refresh_token"], token_endpoint_auth_method="none",
    )
    auth = OAuthClientProvider(url, wanted, memory, consent, callback)
    async with httpx2.AsyncClient(auth=auth) as http, Client(streamable_http_client(url, http_client=http)) as client:
        before = memory.tokens.refresh_token
        Path("left.json").write_text(json.dumps({"client_id": memory.client.client_id, "refresh_token": before}))
        Path("down").write_text(os.environ["ANSWER"])
        await asyncio.sleep(3)
        await client.call_tool("whoami", {})
    print(f"{len(consents)}, connected")


asyncio.run(main())
PROGRAM

export SERVER ANSWER
# by_hand: the status of a refresh with what the client had before.
by_hand() {
	curl --silent --output body --write-out '%{http_code}' "$SERVER$TOKEN_PATH" --data grant_type=refresh_token \
		--data-urlencode "refresh_token=$(field refresh_token <left.json)" --data-urlencode "client_id=$(field client_id <left.json)" \
		--data-urlencode "resource=$SERVER/mcp"
}
ANSWER='<h1>Back in a minute</h1>'
seen "TypeScript, a page: consents in all, the call" "2, UnauthorizedError" "$(node client.mjs 2>/dev/null)"
seen "  its refresh token, by hand" 200 "$(by_hand)"
seen "Python, a page: consents in all, the call" "2, connected" "$(venv/bin/python client.py)"
seen "  its refresh token from before, by hand" 200 "$(by_hand)"
ANSWER='{"error": "temporarily_unavailable"}'
: >code
seen "TypeScript, the code: consents in all, the call" "1, TemporarilyUnavailableError" "$(node client.mjs 2>/dev/null)"
seen "Python, the code: consents in all, the call" "2, connected" "$(venv/bin/python client.py)"
