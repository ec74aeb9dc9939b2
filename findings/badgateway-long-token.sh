#!/bin/sh
# @badgateway/oauth2-client 3.3.1 (npm) on Node.js, an access token of 60 days (LinkedIn's and others' live that long).
#
# Expected: its OAuth2Fetch, which refreshes by itself a minute before the end, does so in 60 days.
# Seen: it waits by setTimeout, which takes 2^31 - 1 ms, not quite 25 days, and makes 1 ms of anything longer: each answer
# starts the next refresh at once, as fast as the token endpoint answers, until somebody stops it. With tokens of 24 days there
# is one refresh. `scheduleRefresh: false` turns the waiting off.

. "$(dirname "$0")/library.sh"
npm install --no-save --ignore-scripts --no-audit --no-fund @badgateway/oauth2-client@3.3.1 >install.log 2>&1 || { cat install.log; exit 2; }

cat >client.mjs <<'PROGRAM'
import { OAuth2Client, OAuth2Fetch } from '@badgateway/oauth2-client';
const client = new OAuth2Client({ server: process.env.SERVER, tokenEndpoint: process.env.SERVER, clientId: 'id', clientSecret: 'secret' });
let refreshes = 0;
const wrapper = new OAuth2Fetch({
  client,
  getNewToken: () => null,
  getStoredToken: () => ({ accessToken: 'AT', refreshToken: 'RT', expiresAt: Date.now() - 1 }),
  storeToken: () => { refreshes += 1; if (refreshes === 10) finish(); },
  ...JSON.parse(process.argv[2] ?? '{}'),
});
const finish = () => { console.log(refreshes); process.exit(); };
await wrapper.getAccessToken();
setTimeout(finish, 2000);
PROGRAM

# refreshes DAYS [OPTIONS]: how many in two seconds; at ten it stops.
refreshes() {
	answers "{\"access_token\": \"AT\", \"refresh_token\": \"RT\", \"token_type\": \"Bearer\", \"expires_in\": $(($1 * 86400))}"
	found=$(node client.mjs "${2:-{\}}" 2>client.log)
}
refreshes 24
seen "tokens of 24 days: refreshes" 1 "$found"
refreshes 60
seen "tokens of 60 days: refreshes, ten at most" 10 "$found"
refreshes 60 '{"scheduleRefresh": false}'
seen "tokens of 60 days, scheduleRefresh: false: refreshes" 1 "$found"
