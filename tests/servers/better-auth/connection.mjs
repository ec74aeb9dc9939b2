// A protected resource, and its authorization server: better-auth with its plugin @better-auth/oauth-provider, and its
// store in memory. Clients register themselves, everybody signs up and consents. GET /mcp takes JWTs for this resource.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { toNodeHandler } from 'better-auth/node';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { inMemory } from './memory.mjs';

const { PORT } = process.env;
const ORIGIN = `http://127.0.0.1:${PORT}`;
const ISSUER = `${ORIGIN}/api/auth`;
const RESOURCE = `${ORIGIN}/mcp`;
const METADATA = `${ORIGIN}/.well-known/oauth-protected-resource/mcp`;
const auth = inMemory(ORIGIN, {
  scopes: ['openid', 'offline_access', 'tools'],
  resources: [RESOURCE],
  clientRegistrationDefaultResources: [RESOURCE],
  allowDynamicClientRegistration: true,
  allowUnauthenticatedClientRegistration: true,
  silenceWarnings: { oauthAuthServerConfig: true, openidConfig: true },
});
const ask = (path, headers, body) => auth.handler(new Request(`${ISSUER}${path}`, {
  method: 'POST', headers: { 'content-type': 'application/json', origin: ORIGIN, ...headers }, body: JSON.stringify(body),
}));

// The pages of a person who signs up, and who agrees.
async function login(asked, outgoing) {
  const answer = await ask('/sign-up/email', {}, {
    email: `${randomUUID()}@example.com`, name: 'Anybody', password: randomUUID(),
  });
  outgoing.setHeader('set-cookie', answer.headers.getSetCookie());
  return `${ISSUER}/oauth2/authorize${asked.search}`;
}

async function consent(asked, cookie) {
  const answer = await ask('/oauth2/consent', { cookie }, { accept: true, oauth_query: asked.search.slice(1) });
  const { url, redirect_uri: uri } = await answer.json();
  return url ?? uri;
}

async function accepts(token) {
  const keys = createLocalJWKSet(await auth.api.getJwks());
  return jwtVerify(token, keys, { issuer: ISSUER, audience: RESOURCE }).then(({ payload }) => payload, () => null);
}

const serve = toNodeHandler(auth);
createServer(async (incoming, outgoing) => {
  const asked = new URL(incoming.url, ORIGIN);
  const send = (status, document, headers = {}) => {
    outgoing.writeHead(status, { 'content-type': 'application/json', ...headers });
    outgoing.end(JSON.stringify(document));
  };
  if (asked.pathname === '/login') return send(302, {}, { location: await login(asked, outgoing) });
  if (asked.pathname === '/consent') return send(302, {}, { location: await consent(asked, incoming.headers.cookie) });
  if (asked.href === METADATA) {
    return send(200, { resource: RESOURCE, authorization_servers: [ISSUER], scopes_supported: ['tools'] });
  }
  if (asked.pathname !== '/mcp') return serve(incoming, outgoing);
  const payload = await accepts((incoming.headers.authorization ?? '').replace('Bearer ', ''));
  if (payload) return send(200, { scope: payload.scope });
  return send(401, {}, { 'www-authenticate': `Bearer resource_metadata="${METADATA}", scope="tools"` });
}).listen(Number(PORT), '127.0.0.1', () => console.log('listening'));
