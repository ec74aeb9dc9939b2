#!/bin/sh
# simple-oauth2 5.1.0 (npm), Authlib 1.9.10, requests-oauthlib 2.0.0 (PyPI): servers that issue no new refresh token.
#
# Expected: an answer without a new refresh token leaves the client with the one it has (RFC 6749 sections 5.1 and 6:
# a server MAY issue a new one). Glewlwyd by default, LemonLDAP::NG, Google and many others answer so.
# Seen: simple-oauth2 forgets it: a token that came of a refresh asks for the next one with an empty refresh_token.
# Authlib and requests-oauthlib keep it where the field is absent, and replace it by nothing where it is there and null.

. "$(dirname "$0")/library.sh"
npm install --no-save --ignore-scripts --no-audit --no-fund simple-oauth2@5.1.0 >install.log 2>&1 || { cat install.log; exit 2; }
python_packages Authlib==1.9.10 requests==2.34.2 requests-oauthlib==2.0.0 oauthlib==4.0.1

cat >client.mjs <<'PROGRAM'
import { AuthorizationCode } from 'simple-oauth2';
const { origin, pathname } = new URL(process.env.SERVER);
const client = new AuthorizationCode({ client: { id: 'id', secret: 'secret' }, auth: { tokenHost: origin, tokenPath: pathname } });
const first = client.createToken({ access_token: 'AT', refresh_token: 'RT', expires_in: 60 });
await (await first.refresh()).refresh();
PROGRAM
cat >client.py <<'PROGRAM'
import os, sys
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
token = {"access_token": "AT", "refresh_token": "RT", "token_type": "Bearer"}
if sys.argv[1] == "authlib":
    from authlib.integrations.requests_client import OAuth2Session
    session = OAuth2Session("id", "secret", token=token)
else:
    from requests_oauthlib import OAuth2Session
    session = OAuth2Session("id", token=token)
session.refresh_token(os.environ["SERVER"], auth=("id", "secret"))
print(session.token.get("refresh_token"))
PROGRAM

absent='{"access_token": "AT", "token_type": "Bearer", "expires_in": 60}'
null='{"access_token": "AT", "token_type": "Bearer", "expires_in": 60, "refresh_token": null}'
answers "$absent"
node client.mjs
seen "simple-oauth2, two refreshes, the field absent: it sends" "RT, empty" "$(paste -sd, asked | sed 's/,/, /')"
for library in authlib requests-oauthlib; do
	answers "$absent"
	seen "$library, the field absent: it has" RT "$(venv/bin/python client.py "$library")"
	answers "$null"
	seen "$library, the field null: it has" None "$(venv/bin/python client.py "$library")"
done
