// better-auth with its plugin @better-auth/oauth-provider and its store in memory. Refresh tokens rotate.
//
// POST /api/auth/oauth2/token is the package's own endpoint; POST /grant gives a new person's tokens, by a code as after
// a consent; GET /api/auth/oauth2/userinfo takes a bearer token.

import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { toNodeHandler } from 'better-auth/node';
import { inMemory } from './memory.mjs';

const { PORT, CLIENT_ID, CLIENT_SECRET, ACCESS_TOKEN_S } = process.env;
const ORIGIN = `http://127.0.0.1:${PORT}`;
const REDIRECT_URI = 'https://client.example.com/callback';
const SCOPE = 'openid offline_access';
const auth = inMemory(ORIGIN, {
  accessTokenExpiresIn: Number(ACCESS_TOKEN_S),
  generateClientId: () => CLIENT_ID,
  generateClientSecret: () => CLIENT_SECRET,
  silenceWarnings: { oauthAuthServerConfig: true, openidConfig: true },
});
const ask = (path, how) => auth.handler(new Request(`${ORIGIN}/api/auth${path}`, how));

async function signUp() {
  const answer = await ask('/sign-up/email', {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin: ORIGIN },
    body: JSON.stringify({ email: `${randomUUID()}@example.com`, name: 'Anybody', password: randomUUID() }),
  });
  return answer.headers.getSetCookie().map((one) => one.split(';')[0]).join('; ');
}

async function grant() {
  const verifier = randomBytes(32).toString('base64url');
  const asked = new URLSearchParams({
    response_type: 'code', client_id: CLIENT_ID, redirect_uri: REDIRECT_URI, scope: SCOPE, state: 'any',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256',
  });
  const redirect = await ask(`/oauth2/authorize?${asked}`, { headers: { cookie: await signUp() } });
  return ask('/oauth2/token', {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'authorization_code', code: new URL(redirect.headers.get('location')).searchParams.get('code'),
      redirect_uri: REDIRECT_URI, code_verifier: verifier, client_id: CLIENT_ID, client_secret: CLIENT_SECRET,
    }),
  });
}

await auth.api.adminCreateOAuthClient({
  headers: new Headers({ cookie: await signUp() }),
  body: {
    redirect_uris: [REDIRECT_URI], scope: SCOPE, grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'client_secret_post', skip_consent: true,
  },
});

const serve = toNodeHandler(auth);
createServer(async (incoming, outgoing) => {
  if (incoming.url !== '/grant') return serve(incoming, outgoing);
  const response = await grant();
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.end(await response.text());
}).listen(Number(PORT), '127.0.0.1', () => console.log('listening'));
