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
cat >down.mjs <<'PROGRAM'
import { existsSync, readFileSync } from 'node:fs';
export default (request, answer, next) => {
  if (!existsSync('down')) return next();
  const text = readFileSync('down', 'utf8');
  answer.status(503).type(text.startsWith('{') ? 'json' : 'html').send(text);
};
PROGRAM
# An access token that has ended, or is unknown, is 401 here; the demonstration's own error would be 500.
sed -i.up "s#^app.use(mcpAuthRouter#app.use('/token', down);\n&#
s#^import express.*#&\nimport down from './down.mjs';#
s#InvalidGrantError, #&InvalidTokenError, #
s#^  granted = .*#&\n  verifyAccessToken = (token) =>\n    super.verifyAccessToken(token).catch(() => { throw new InvalidTokenError('ended'); });#
s#return { ...tokens, refresh_token#return { ...tokens, expires_in: 2, refresh_token#" connection.mjs
run="node connection.mjs"
start

cat >client.mjs <<'PROGRAM'
import { rmSync, writeFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const { SERVER, ANSWER } = process.env;
let consents = 0, kept = {};
const provider = {
  redirectUrl: 'http://127.0.0.1/callback',
  clientMetadata: {
    client_name: 'any', redirect_uris: ['http://127.0.0.1/callback'], scope: 'tools', token_endpoint_auth_method: 'none',
  },
  clientInformation: () => kept.client, saveClientInformation: (client) => { kept.client = client; },
  tokens: () => kept.tokens, saveTokens: (tokens) => { kept.tokens = tokens; },
  codeVerifier: () => kept.verifier, saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  redirectToAuthorization: (url) => { consents += 1; kept.page = url; },
};
const transport = () => new StreamableHTTPClientTransport(new URL(`${SERVER}/mcp`), { authProvider: provider });
const connect = () => new Client({ name: 'any', version: '1' }).connect(transport())
  .then(() => 'connected', (error) => error.constructor.name);
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
. "$here/mcp-client.sh"
export ANSWER

# python_client: two calls of a new client.
python_client() {
	rm -f tokens.json clientid.json
	venv/bin/python client.py 2 | sed 's/[0-9]*$/N/'
}
ANSWER='<h1>Back in a minute</h1>'
seen "TypeScript, a page: consents in all, the call" "2, UnauthorizedError" "$(node client.mjs 2>/dev/null)"
seen "  its refresh token, by hand" 200 "$(by_hand left.json left.json)"
seen "Python, a page: consents in all, the second call" "2, token N" "$(python_client)"
seen "  its refresh token from before, by hand" 200 "$(by_hand before.json clientid.json)"
ANSWER='{"error": "temporarily_unavailable"}'
seen "TypeScript, the code: consents in all, the call" "1, TemporarilyUnavailableError" "$(node client.mjs 2>/dev/null)"
seen "Python, the code: consents in all, the second call" "2, token N" "$(python_client)"
