// oidc-provider as it is, with a confidential client and the package's own policy of rotation: a refresh token is
// replaced when 70 % of its life are over, and until then its second use is as good as its first.
//
// POST /token is the package's own endpoint; POST /grant gives a new person's tokens, as a consent would have made
// them; GET /me takes a bearer token.

import { randomUUID } from 'node:crypto';
import Provider from 'oidc-provider';

const { PORT, CLIENT_ID, CLIENT_SECRET, ACCESS_TOKEN_S } = process.env;
const SCOPE = 'openid offline_access';

const provider = new Provider(`http://127.0.0.1:${PORT}`, {
  clients: [{
    client_id: CLIENT_ID,
    client_secret: CLIENT_SECRET,
    application_type: 'native',
    grant_types: ['authorization_code', 'refresh_token'],
    redirect_uris: ['http://127.0.0.1/callback'],
    token_endpoint_auth_method: 'client_secret_post',
  }],
  claims: { openid: ['sub'] },
  cookies: { keys: ['these tests sign their cookies'] },
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  scopes: ['openid', 'offline_access'],
  ttl: { AccessToken: Number(ACCESS_TOKEN_S), Grant: 86_400, RefreshToken: 86_400 },
});

async function grant() {
  const client = await provider.Client.find(CLIENT_ID);
  const accountId = randomUUID();
  const made = new provider.Grant({ accountId, clientId: CLIENT_ID });
  made.addOIDCScope(SCOPE);
  const of = { accountId, client, grantId: await made.save(), gty: 'authorization_code', scope: SCOPE };
  return {
    access_token: await new provider.AccessToken(of).save(),
    refresh_token: await new provider.RefreshToken({ ...of, rotations: 0 }).save(),
    expires_in: Number(ACCESS_TOKEN_S),
  };
}

provider.on('server_error', (ctx, error) => console.error(error));
provider.use(async (ctx, next) => {
  if (ctx.path !== '/grant') return next();
  ctx.body = await grant();
});
provider.listen(Number(PORT), '127.0.0.1', () => console.log('listening'));
