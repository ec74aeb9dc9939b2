// @jmondi/oauth2-server behind express, with a store of ours in memory: the package leaves storage to its user.
//
// POST /token is the package's own endpoint; POST /grant gives a new person's tokens, by the package's password grant;
// GET /resource takes a bearer token whose store entry lives.

import { randomUUID } from 'node:crypto';
import { AuthorizationServer, DateInterval, JwtService } from '@jmondi/oauth2-server';
import { handleExpressError, handleExpressResponse, requestFromExpress } from '@jmondi/oauth2-server/express';
import express from 'express';

const { PORT, CLIENT_ID, CLIENT_SECRET, ACCESS_TOKEN_S } = process.env;
const client = {
  id: CLIENT_ID, name: 'refreshd', secret: CLIENT_SECRET, redirectUris: [],
  allowedGrants: ['password', 'refresh_token'], scopes: [],
};
const byRefreshToken = new Map();
const revoked = new Set();
const jwt = new JwtService('a key of these tests alone');
const later = (seconds) => new Date(Date.now() + seconds * 1000);

const clients = {
  async getByIdentifier(id) {
    if (id !== CLIENT_ID) throw new Error('no such client');
    return client;
  },
  isClientValid: async (grant, found, secret) => secret === found.secret,
};
const tokens = {
  issueToken: async (found, scopes, user) => ({
    accessToken: randomUUID(), accessTokenExpiresAt: later(Number(ACCESS_TOKEN_S)), client: found, user, scopes,
  }),
  async issueRefreshToken(token) {
    Object.assign(token, { refreshToken: randomUUID(), refreshTokenExpiresAt: later(86_400) });
    byRefreshToken.set(token.refreshToken, token);
    return token;
  },
  persist: async () => {},
  async revoke(token) { revoked.add(token.accessToken); },
  isRefreshTokenRevoked: async (token) => revoked.has(token.accessToken),
  async getByRefreshToken(found) {
    if (!byRefreshToken.has(found)) throw new Error('no such refresh token');
    return byRefreshToken.get(found);
  },
};
const scopes = { getAllByIdentifiers: async () => [], finalize: async (found) => found };
const people = { getUserByCredentials: async (id) => ({ id }) };

const server = new AuthorizationServer(clients, tokens, scopes, jwt);
const lifetime = new DateInterval(`${ACCESS_TOKEN_S}s`);
server.enableGrantTypes([{ grant: 'password', userRepository: people }, lifetime], ['refresh_token', lifetime]);

const respond = (request, answer) => server
  .respondToAccessTokenRequest(request)
  .then((made) => handleExpressResponse(answer, made))
  .catch((error) => handleExpressError(error, answer));

const app = express();
app.use(express.urlencoded({ extended: false }));
app.post('/token', (request, answer) => respond(requestFromExpress(request), answer));
app.post('/grant', (request, answer) => {
  const body = {
    grant_type: 'password', username: randomUUID(), password: 'any', client_id: CLIENT_ID, client_secret: CLIENT_SECRET,
  };
  return respond({ headers: {}, query: {}, body }, answer);
});
app.get('/resource', async (request, answer) => {
  try {
    const { jti } = await jwt.verify((request.headers.authorization ?? '').slice('Bearer '.length));
    answer.status(revoked.has(jti) ? 401 : 200).json({});
  } catch {
    answer.status(401).json({});
  }
});
app.use((error, request, answer, next) => handleExpressError(error, answer));
app.listen(Number(PORT), '127.0.0.1', () => console.log('listening'));
