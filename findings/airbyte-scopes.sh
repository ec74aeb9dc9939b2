#!/bin/sh
# airbyte-cdk 7.39.1 (PyPI), the OAuth authenticators of its connectors, `scopes` ("granted to the access token") configured.
#
# Expected: a refresh asks for them by `scope`, separated by blanks (RFC 6749 sections 3.3 and 6).
# Seen: each scope is a parameter `scopes` of its own, which no specification knows, several times over (section 3.2: MUST NOT
# be included more than once). `scope` is not sent, so a server that ignores what it does not know issues whatever was
# granted. What reaches it is an own `scope` among refresh_request_body.

. "$(dirname "$0")/library.sh"
python_packages airbyte-cdk==7.39.1

cat >client.py <<'PROGRAM'
import os, sys
from airbyte_cdk.sources.streams.http.requests_native_auth import Oauth2Authenticator
extra = {"refresh_request_body": {"scope": "read write"}} if sys.argv[1:] else {}
Oauth2Authenticator(os.environ["SERVER"], "id", "secret", "RT", scopes=["read", "write"], **extra).get_access_token()
PROGRAM
cat >sent.py <<'PROGRAM'
from urllib.parse import parse_qsl
form = parse_qsl(open("forms").read().strip())
print(", ".join(f"{name}={value}" for name, value in form if name.startswith("scope")))
PROGRAM

# refresh [extra]: what it says of scopes is $found.
refresh() {
	answers '{"access_token": "AT", "token_type": "Bearer", "expires_in": 3600}'
	venv/bin/python client.py "$@" >client.log 2>&1
	found=$(python3 sent.py)
}
refresh
seen "scopes: read, write" "scopes=read, scopes=write" "$found"
refresh extra
seen "  and a scope in refresh_request_body" "scopes=read, scopes=write, scope=read write" "$found"
