// @cloudflare/workers-oauth-provider on Node.js, whose Request, Response and crypto are the Web's, as a worker's are;
// its KV namespace is a Map.
//
// POST /token is the package's own endpoint; POST /grant gives a new person's tokens, by a code as after a consent;
// GET /resource is behind the package's own check of bearer tokens.

import './workers.mjs';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { namespaceOf } from './kv.mjs';

const { OAuthProvider } = await import('@cloudflare/workers-oauth-provider');
const { PORT, CLIENT_ID, CLIENT_SECRET, ACCESS_TOKEN_S } = process.env;
const ORIGIN = `http://127.0.0.1:${PORT}`;
const REDIRECT_URI = 'http://127.0.0.1/callback';
const hash = (value) => createHash('sha256').update(value);

const stored = new Map();
const env = { OAUTH_KV: namespaceOf(stored) };
stored.set(`client:${CLIENT_ID}`, JSON.stringify({
  clientId: CLIENT_ID, clientSecret: hash(CLIENT_SECRET).digest('hex'), redirectUris: [REDIRECT_URI],
  grantTypes: ['authorization_code', 'refresh_token'], responseTypes: ['code'],
  tokenEndpointAuthMethod: 'client_secret_post',
}));

async function grant(helpers) {
  const verifier = randomBytes(32).toString('base64url');
  const asked = new URLSearchParams({
    response_type: 'code', client_id: CLIENT_ID, redirect_uri: REDIRECT_URI, state: 'any', scope: 'read',
    code_challenge: hash(verifier).digest('base64url'), code_challenge_method: 'S256',
  });
  const request = await helpers.parseAuthRequest(new Request(`${ORIGIN}/authorize?${asked}`));
  const userId = randomUUID();
  const { redirectTo } = await helpers.completeAuthorization({
    request, userId, scope: request.scope, props: { userId }, metadata: {},
  });
  const body = new URLSearchParams({
    grant_type: 'authorization_code', code: new URL(redirectTo).searchParams.get('code'), redirect_uri: REDIRECT_URI,
    client_id: CLIENT_ID, client_secret: CLIENT_SECRET, code_verifier: verifier,
  });
  return answer(new Request(`${ORIGIN}/token`, { method: 'POST', body }));
}

const provider = new OAuthProvider({
  apiRoute: '/resource',
  apiHandler: { fetch: () => Response.json({}) },
  defaultHandler: { fetch: (request, bound) => grant(bound.OAUTH_PROVIDER) },
  authorizeEndpoint: '/authorize',
  tokenEndpoint: '/token',
  scopesSupported: ['read'],
  resourceMetadata: { resource: `${ORIGIN}/resource`, authorization_servers: [ORIGIN] },
  accessTokenTTL: Number(ACCESS_TOKEN_S),
});
const answer = (request) => provider.fetch(request, env, { waitUntil() {}, props: {} });

createServer(async (incoming, outgoing) => {
  const body = [];
  for await (const part of incoming) body.push(part);
  const response = await answer(new Request(`${ORIGIN}${incoming.url}`, {
    method: incoming.method,
    headers: incoming.headers,
    body: incoming.method === 'POST' ? Buffer.concat(body) : undefined,
  }));
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.end(await response.text());
}).listen(Number(PORT), '127.0.0.1', () => console.log('listening'));
