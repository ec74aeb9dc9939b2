#!/bin/sh
# singer-sdk 0.54.9 (PyPI; Meltano's, for taps), its OAuthAuthenticator at a server that rotates refresh tokens.
#
# Expected: the authenticator has a `refresh_token`, so a new one in an answer is there afterwards, for the next refresh and
# for whoever stores it.
# Seen: no line of the SDK fills that attribute: it is None from the start to the end. A tap's request body is built from the
# configuration again, so the second refresh of a run sends the spent one, and so does the first of the next run. A
# subclass has to read the answer itself, by an update_access_token() of its own.

. "$(dirname "$0")/library.sh"
python_packages singer-sdk==0.54.9

cat >client.py <<'PROGRAM'
import os
from singer_sdk.authenticators import OAuthAuthenticator


class Authenticator(OAuthAuthenticator):
    """As a tap writes it: what was answered last, else what was configured."""

    @property
    def oauth_request_body(self):
        return {"grant_type": "refresh_token", "refresh_token": self.refresh_token or "RT-1", "client_id": self.client_id}


client = Authenticator(auth_endpoint=os.environ["SERVER"], client_id="id", client_secret="secret")
client.update_access_token()
client.update_access_token()
print(f"{client.access_token}, {client.refresh_token}")
PROGRAM

answers '{"access_token": "AT-2", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "RT-2"}' \
	'{"access_token": "AT-3", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "RT-3"}'
seen "after two refreshes it has" "AT-3, None" "$(venv/bin/python client.py 2>client.log)"
seen "  they sent" "RT-1, RT-1" "$(paste -sd, asked | sed 's/,/, /')"
