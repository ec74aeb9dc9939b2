// better-auth with its plugin @better-auth/oauth-provider, and its store in memory: everybody may sign up.

import { oauthProvider } from '@better-auth/oauth-provider';
import { betterAuth } from 'better-auth';
import { memoryAdapter } from 'better-auth/adapters/memory';
import { jwt } from 'better-auth/plugins';

const MODELS = [
  'user', 'session', 'account', 'verification', 'jwks', 'oauthClient', 'oauthRefreshToken', 'oauthAccessToken',
  'oauthConsent', 'oauthClientResource', 'oauthResource', 'oauthClientAssertion',
];

export const inMemory = (origin, options) => betterAuth({
  baseURL: origin,
  secret: 'a key of these tests alone, of 32 characters and more',
  database: memoryAdapter(Object.fromEntries(MODELS.map((model) => [model, []]))),
  emailAndPassword: { enabled: true },
  rateLimit: { enabled: false },
  plugins: [
    jwt(),
    oauthProvider({ loginPage: '/login', consentPage: '/consent', ...options }),
  ],
});
