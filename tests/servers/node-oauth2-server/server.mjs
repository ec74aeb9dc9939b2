// @node-oauth/oauth2-server behind express, with a store of ours in memory: the package leaves storage to its user.
//
// POST /token is the package's own endpoint; POST /grant gives a new person's tokens, by the package's password grant;
// GET /resource takes a bearer token.

import { randomUUID } from 'node:crypto';
import OAuth2Server from '@node-oauth/oauth2-server';
import express from 'express';

const { PORT, CLIENT_ID, CLIENT_SECRET, ACCESS_TOKEN_S } = process.env;
const client = { id: CLIENT_ID, grants: ['password', 'refresh_token'] };
const byAccessToken = new Map();
const byRefreshToken = new Map();

const model = {
  getClient: (id, secret) => id === CLIENT_ID && (secret === null || secret === CLIENT_SECRET) && client,
  getUser: (username) => ({ username }),
  validateScope: (user, client, scope) => scope ?? ['read'],
  saveToken(token, client, user) {
    const saved = { ...token, client, user };
    byAccessToken.set(token.accessToken, saved);
    byRefreshToken.set(token.refreshToken, saved);
    return saved;
  },
  getAccessToken: (token) => byAccessToken.get(token),
  getRefreshToken: (token) => byRefreshToken.get(token),
  revokeToken: (token) => byRefreshToken.delete(token.refreshToken),
};

const oauth = new OAuth2Server({ model, accessTokenLifetime: Number(ACCESS_TOKEN_S) });
const { Request, Response } = OAuth2Server;

async function token(asked, answer) {
  const made = new Response();
  try {
    await oauth.token(asked, made);
  } catch (error) {
    made.status ??= error.code;
  }
  answer.status(made.status ?? 200).set(made.headers).json(made.body);
}

const app = express();
app.use(express.urlencoded({ extended: false }));
app.post('/token', (request, answer) => token(new Request(request), answer));
app.post('/grant', (request, answer) => {
  const body = {
    grant_type: 'password', username: randomUUID(), password: 'any', client_id: CLIENT_ID, client_secret: CLIENT_SECRET,
  };
  const headers = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': '1' };
  return token(new Request({ method: 'POST', headers, query: {}, body }), answer);
});
app.get('/resource', async (request, answer) => {
  try {
    await oauth.authenticate(new Request(request), new Response());
    answer.json({});
  } catch (error) {
    answer.status(error.code).json({ error: error.name });
  }
});
app.listen(Number(PORT), '127.0.0.1', () => console.log('listening'));
