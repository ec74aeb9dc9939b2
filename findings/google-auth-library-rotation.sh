#!/bin/sh
# google-auth-library 11.3.4 (npm, the one that googleapis uses) at a server that rotates refresh tokens.
#
# Expected: a new refresh token in the answer takes the place of the old one, as in google-auth, its sister in Python.
# Seen: the client reports the new one to the listeners of `tokens`, and writes the old one back into its own credentials
# at once: the next refresh sends the one that is spent. And the object that the listeners were given is the same: whoever
# keeps it, instead of what it holds at that moment, has the old one as well.

. "$(dirname "$0")/library.sh"
npm install --no-save --ignore-scripts --no-audit --no-fund google-auth-library@11.3.4 >install.log 2>&1 || { cat install.log; exit 2; }
python_packages google-auth==2.63.0 requests==2.34.2

cat >client.mjs <<'PROGRAM'
import { OAuth2Client } from 'google-auth-library';
const client = new OAuth2Client({ clientId: 'id', clientSecret: 'secret', endpoints: { oauth2TokenUrl: process.env.SERVER } });
const heard = [];
const kept = [];
client.on('tokens', (tokens) => { heard.push(tokens.refresh_token); kept.push(tokens); });
client.setCredentials({ refresh_token: 'RT-1' });
await client.getAccessToken();
client.credentials.expiry_date = 1;
await client.getAccessToken();
console.log([client.credentials.refresh_token, heard.join(' '), kept.map((one) => one.refresh_token).join(' ')].join(', '));
PROGRAM
cat >client.py <<'PROGRAM'
import os
from google.auth.transport.requests import Request
from google.oauth2.credentials import Credentials
client = Credentials(None, refresh_token="RT-1", token_uri=os.environ["SERVER"], client_id="id", client_secret="secret")
client.refresh(Request())
client.refresh(Request())
print(client.refresh_token)
PROGRAM

rotating() {
	answers '{"access_token": "AT-2", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "RT-2"}' \
		'{"access_token": "AT-3", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "RT-3"}'
}
rotating
seen "Node.js: it has, its listeners heard, they kept" "RT-1, RT-2 RT-3, RT-1 RT-1" "$(node client.mjs)"
seen "Node.js: two refreshes send" "RT-1, RT-1" "$(paste -sd, asked | sed 's/,/, /')"
rotating
seen "Python: it has" RT-3 "$(venv/bin/python client.py)"
seen "Python: two refreshes send" "RT-1, RT-2" "$(paste -sd, asked | sed 's/,/, /')"
