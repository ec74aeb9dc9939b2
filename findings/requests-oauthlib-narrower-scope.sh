#!/bin/sh
# requests-oauthlib 2.0.0 with oauthlib 4.0.1 (PyPI): a refresh that is answered with a narrower scope.
#
# Expected: the session takes the new tokens; the scope of the answer is what the client has from now on (RFC 6749
# section 5.1 has servers name the scope for just that case).
# Seen: refresh_token() raises Warning("Scope has changed ..."), and the session keeps the refresh token that it sent, which
# a server that rotates has spent by then. The new tokens are in the exception's `token` alone. The environment variable
# OAUTHLIB_RELAX_TOKEN_SCOPE turns that off.

. "$(dirname "$0")/library.sh"
python_packages requests==2.34.2 requests-oauthlib==2.0.0 oauthlib==4.0.1

cat >client.py <<'PROGRAM'
import os
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
from requests_oauthlib import OAuth2Session
token = {"access_token": "AT", "refresh_token": "RT", "token_type": "Bearer"}
session = OAuth2Session("id", token=token, scope=["read", "write"])
try:
    session.refresh_token(os.environ["SERVER"], auth=("id", "secret"))
    print("returned,", session.token["refresh_token"])
except Warning as warning:
    print("raised,", session.token["refresh_token"] + ",", warning.token["refresh_token"])
PROGRAM

answers '{"access_token": "AT-2", "refresh_token": "RT-2", "token_type": "Bearer", "expires_in": 60, "scope": "read"}'
seen "a narrower scope: the session has, the exception has" "raised, RT, RT-2" "$(venv/bin/python client.py)"
seen "the same with OAUTHLIB_RELAX_TOKEN_SCOPE=1" "returned, RT-2" "$(OAUTHLIB_RELAX_TOKEN_SCOPE=1 venv/bin/python client.py)"
