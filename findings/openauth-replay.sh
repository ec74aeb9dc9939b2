#!/bin/sh
# @openauthjs/openauth 0.4.3 (npm), an authorization server of one's own; by default a spent refresh token may be sent again
# for 60 s (`ttl.reuse`), here for 4.
#
# Expected: who sends a spent refresh token again within that time gets the pair that works: the newest of its chain.
# Seen: it gets the refresh token that followed it, however often, and also once that one is spent itself: the access token is
# good, the refresh token beside it ends with its own 4 s, and the one that lives is known to somebody else. After the time
# a spent one is `invalid_grant` like any unknown one, and ends nothing. No answer has a `token_type` (RFC 6749 section 5.1:
# REQUIRED), which openid-client 6.8.9 refuses as no answer of a token endpoint: the refresh token is spent by then.

. "$(dirname "$0")/library.sh"
npm install --no-save --ignore-scripts --no-audit --no-fund @openauthjs/openauth@0.4.3 hono@4.13.19 @hono/node-server@2.1.9 \
	openid-client@6.8.9 >install.log 2>&1 || { cat install.log; exit 2; }

cat >server.mjs <<'PROGRAM'
import { serve } from '@hono/node-server';
import { issuer } from '@openauthjs/openauth';
import { MemoryStorage } from '@openauthjs/openauth/storage/memory';
import { createSubjects } from '@openauthjs/openauth/subject';
import { writeFileSync } from 'node:fs';
const app = issuer({
  subjects: createSubjects({ user: { '~standard': { version: 1, vendor: 'here', validate: (value) => ({ value }) } } }),
  storage: MemoryStorage(),
  ttl: { reuse: 4 },
  providers: { machine: { type: 'machine', init() {}, client: async () => ({}) } },
  success: (context) => context.subject('user', { id: 'person' }),
});
serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => writeFileSync('port', String(port)));
PROGRAM
cat >client.mjs <<'PROGRAM'
import * as openid from 'openid-client';
const token_endpoint = process.env.SERVER;
const client = new openid.Configuration({ issuer: new URL(token_endpoint).origin, token_endpoint }, 'client', 'secret');
openid.allowInsecureRequests(client);
try {
  await openid.refreshTokenGrant(client, process.argv[2]);
  console.log('taken');
} catch (error) {
  console.log(`${error.code} ${error.cause?.message}`);
}
PROGRAM

node server.mjs >server.log 2>&1 &
pid=$!
tries=100
until [ -s port ]; do
	tries=$((tries - 1))
	if [ "$tries" = 0 ] || ! kill -0 "$pid" 2>/dev/null; then cat server.log; exit 2; fi
	sleep 0.1
done
SERVER=http://127.0.0.1:$(cat port)/token
export SERVER

ask() { curl --silent --output body --write-out '%{http_code}' "$SERVER" "$@"; }
field() { python3 -c 'import json, sys; print(json.load(open("body")).get(sys.argv[1], "none"))' "$1"; }
refresh() { status=$(ask --data grant_type=refresh_token --data client_id=client --data-urlencode "refresh_token=$1"); }
grant() {
	ask --data grant_type=client_credentials --data provider=machine --data client_id=client --data client_secret=secret >status
	first=$(field refresh_token)
}

grant
refresh "$first"
second=$(field refresh_token)
seen "a refresh" 200 "$status"
seen "  its token_type" none "$(field token_type)"
refresh "$first"
seen "the same refresh token again: the same next one" "200, yes" "$status, $([ "$(field refresh_token)" = "$second" ] && echo yes)"
refresh "$second"
third=$(field refresh_token)
refresh "$first"
seen "again, once the next one is spent: that one" "200, yes" "$status, $([ "$(field refresh_token)" = "$second" ] && echo yes)"
sleep 4.5
refresh "$first"
seen "after 4 s: it" "400 invalid_grant" "$status $(field error)"
refresh "$second"
seen "  the one that the replay had brought" "400 invalid_grant" "$status $(field error)"
refresh "$third"
seen "  the newest" 200 "$status"
grant
seen "openid-client" 'OAUTH_INVALID_RESPONSE "response" body "token_type" property must be a string' "$(node client.mjs "$first")"
sleep 4.5
refresh "$first"
seen "  the refresh token that it sent, after 4 s" "400 invalid_grant" "$status $(field error)"
