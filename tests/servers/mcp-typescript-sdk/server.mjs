// The authorization router of @modelcontextprotocol/sdk, with a provider of ours in memory: the package leaves storage
// to its user. A refresh token is spent by its use.
//
// POST /token is the package's own endpoint; POST /grant gives a new person's tokens; GET /resource is behind the
// package's own check of bearer tokens.

import { randomUUID } from 'node:crypto';
import { InvalidGrantError, InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import { mcpAuthRouter } from '@modelcontextprotocol/sdk/server/auth/router.js';
import express from 'express';

const { PORT, CLIENT_ID, CLIENT_SECRET, ACCESS_TOKEN_S } = process.env;
const client = { client_id: CLIENT_ID, client_secret: CLIENT_SECRET, redirect_uris: ['http://127.0.0.1/callback'] };
const ends = new Map();
const refreshTokens = new Set();

function issue() {
  const tokens = {
    access_token: randomUUID(), refresh_token: randomUUID(), token_type: 'Bearer', expires_in: Number(ACCESS_TOKEN_S),
  };
  ends.set(tokens.access_token, Math.floor(Date.now() / 1000) + tokens.expires_in);
  refreshTokens.add(tokens.refresh_token);
  return tokens;
}

const provider = {
  clientsStore: { getClient: (id) => (id === CLIENT_ID ? client : undefined) },
  async authorize() { throw new Error('grants come from /grant'); },
  async challengeForAuthorizationCode() { throw new InvalidGrantError('no codes here'); },
  async exchangeAuthorizationCode() { throw new InvalidGrantError('no codes here'); },
  async exchangeRefreshToken(found, token) {
    if (!refreshTokens.delete(token)) throw new InvalidGrantError('unknown refresh token');
    return issue();
  },
  async verifyAccessToken(token) {
    if (!ends.has(token)) throw new InvalidTokenError('unknown access token');
    return { token, clientId: CLIENT_ID, scopes: [], expiresAt: ends.get(token) };
  },
};

const app = express();
app.use(mcpAuthRouter({ provider, issuerUrl: new URL(`http://127.0.0.1:${PORT}`) }));
app.post('/grant', (request, answer) => answer.json(issue()));
app.get('/resource', requireBearerAuth({ verifier: provider }), (request, answer) => answer.json({}));
app.listen(Number(PORT), '127.0.0.1', () => console.log('listening'));
