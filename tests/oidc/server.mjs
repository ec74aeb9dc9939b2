// An OAuth 2.0 authorization server for refreshd's tests: the package oidc-provider as it is, configured.
//
//   node server.mjs CONFIGURATION.json
//
// It rotates refresh tokens at each use, and revokes a grant whose spent refresh token is used again. In each proof
// of possession (DPoP) it wants a nonce of its own. Its own development pages ask for login and consent. GET /tally
// tells what its token endpoint did.

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import Provider, { errors } from 'oidc-provider';
import MemoryAdapter from 'oidc-provider/lib/adapters/memory_adapter.js';
import LRU from 'oidc-provider/lib/helpers/lru.js';

const { port, accessTokenS, clients, resource } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
// Its own storage forgets all but the last 1,000 things, spent refresh tokens among them.
const store = new LRU({ maxSize: 1_000_000 });

const provider = new Provider(`http://127.0.0.1:${port}`, {
  adapter: (model) => new MemoryAdapter(model, store),
  clients,
  claims: { openid: ['sub'], email: ['email'] },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'none'],
  cookies: { keys: ['a test signs its cookies'] },
  enabledJWA: { clientAuthSigningAlgValues: ['HS256', 'RS256', 'PS256', 'ES256', 'Ed25519'] },
  features: {
    deviceFlow: { enabled: true },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
    revocation: { enabled: true },
    // A resource of its own, at /mcp, whose clients register themselves and push what they ask for.
    ...(resource && {
      dPoP: { enabled: false },
      pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: true },
      registration: { enabled: true },
      registrationManagement: { enabled: true, rotateRegistrationAccessToken: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => { throw new errors.InvalidTarget('a resource is expected'); },
        getResourceServerInfo: (ctx, asked) => {
          if (asked !== resource) throw new errors.InvalidTarget();
          return { scope: 'tools', audience: resource, accessTokenTTL: accessTokenS };
        },
        useGrantedResource: () => false,
      },
    }),
  },
  ...(resource && { issueRefreshToken: async (ctx, client, code) => code.scopes.has('offline_access') }),
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub, email: `${sub}@example.com` }) }),
  pkce: { required: () => true },
  rotateRefreshToken: true,
  scopes: ['openid', 'offline_access', 'email'],
  ttl: { AccessToken: accessTokenS, Grant: 86400, RefreshToken: 86400 },
});

const tally = { refreshed: 0, issued: 0, revoked: 0, errors: {} };
provider.on('grant.success', (ctx) => {
  tally[ctx.oidc.params.grant_type === 'refresh_token' ? 'refreshed' : 'issued'] += 1;
});
provider.on('grant.error', (ctx, { error, error_description, error_detail }) => {
  const words = [error, error_description, error_detail].filter(Boolean).join(': ');
  tally.errors[words] = (tally.errors[words] ?? 0) + 1;
});
provider.on('grant.revoked', () => { tally.revoked += 1; });
provider.on('server_error', (ctx, error) => console.error(error));

provider.use(async (ctx, next) => {
  if (ctx.path !== '/tally') return next();
  ctx.body = tally;
});

// The resource: a challenge for who brings no token of it.
provider.use(async (ctx, next) => {
  if (!resource) return next();
  if (ctx.path === '/.well-known/oauth-protected-resource/mcp') {
    ctx.body = { resource, authorization_servers: [provider.issuer], scopes_supported: ['tools'] };
    return undefined;
  }
  if (ctx.path !== '/mcp') return next();
  const found = await provider.AccessToken.find((ctx.get('authorization') || '').replace('Bearer ', ''));
  if (found?.isValid && [found.aud].flat().includes(resource)) {
    ctx.body = { scope: found.scope };
    return undefined;
  }
  ctx.status = 401;
  ctx.set('www-authenticate', `Bearer resource_metadata="${provider.issuer}/.well-known/oauth-protected-resource/mcp", scope="tools"`);
  return undefined;
});

provider.listen(port, '127.0.0.1', () => console.log('listening'));
