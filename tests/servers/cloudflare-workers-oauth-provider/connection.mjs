// A protected resource of @cloudflare/workers-oauth-provider on Node.js, as in server.mjs: clients register themselves,
// everybody consents. GET /mcp tells which user's token it was asked with. With DOCUMENT (JSON) in the environment a client
// id may be the URL of a document, which is this one wherever it is fetched from.

import './workers.mjs';
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { namespaceOf } from './kv.mjs';

const { OAuthProvider } = await import('@cloudflare/workers-oauth-provider');
const { PORT, DOCUMENT } = process.env;
const ORIGIN = `http://127.0.0.1:${PORT}`;

if (DOCUMENT) {
  globalThis.Cloudflare = { compatibilityFlags: { global_fetch_strictly_public: true } };
  globalThis.fetch = async () => new Response(DOCUMENT, { headers: { 'content-type': 'application/json' } });
}
const stored = new Map();
const env = { OAUTH_KV: namespaceOf(stored) };

async function consent(request, helpers) {
  const asked = await helpers.parseAuthRequest(request);
  const userId = randomUUID();
  const { redirectTo } = await helpers.completeAuthorization({
    request: asked, userId, scope: asked.scope, props: { userId }, metadata: {},
  });
  return new Response(null, { status: 302, headers: { location: redirectTo } });
}

const provider = new OAuthProvider({
  apiRoute: '/mcp',
  apiHandler: { fetch: (request, bound, context) => Response.json(context.props) },
  defaultHandler: {
    fetch: (request, bound) => (new URL(request.url).pathname === '/authorize'
      ? consent(request, bound.OAUTH_PROVIDER) : new Response(null, { status: 404 })),
  },
  authorizeEndpoint: '/authorize',
  tokenEndpoint: '/token',
  clientRegistrationEndpoint: '/register',
  clientIdMetadataDocumentEnabled: Boolean(DOCUMENT),
  scopesSupported: ['tools'],
  resourceMetadata: { resource: `${ORIGIN}/mcp`, authorization_servers: [ORIGIN], scopes_supported: ['tools'] },
});

createServer(async (incoming, outgoing) => {
  const body = [];
  for await (const part of incoming) body.push(part);
  const request = new Request(`${ORIGIN}${incoming.url}`, {
    method: incoming.method,
    headers: incoming.headers,
    body: incoming.method === 'POST' ? Buffer.concat(body) : undefined,
  });
  const response = await provider.fetch(request, env, { waitUntil() {}, props: {} });
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.end(await response.text());
}).listen(Number(PORT), '127.0.0.1', () => console.log('listening'));
