#!/bin/sh
# Authlib 1.9.10 (PyPI) at django-oauth-toolkit 3.4.1, HTTP Basic, a client secret with a percent sign.
#
# Expected: the same id and secret authenticate a client wherever both sides say client_secret_basic.
# Seen: Authlib sends the halves as they are, django-oauth-toolkit decodes them as a form, as RFC 6749 section 2.3.1 has
# it: the right secret is 401 invalid_client. In the body it is accepted, and so it is in Basic when it is form-encoded.
# curl -u sends it as Authlib does. Secrets of letters and digits alone never show it.

NAME=django-oauth-toolkit TOKEN_PATH=/o/token/ CLIENT_SECRET='half%20price'
. "$(dirname "$0")/server.sh"
python3 -m venv library
library/bin/pip install --quiet --disable-pip-version-check Authlib==1.9.10 requests==2.34.2 >install.log 2>&1 || { cat install.log; exit 2; }

cat >client.py <<'PROGRAM'
import sys
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
url, secret, token, method = sys.argv[1:]
session = OAuth2Session("client", secret, token_endpoint_auth_method=method)
try:
    session.refresh_token(url, refresh_token=token)
    print("a token")
except OAuthError as error:
    print(error.error)
PROGRAM

ask() { library/bin/python client.py "$SERVER$TOKEN_PATH" "$1" "$(grant | field refresh_token)" "$2"; }
seen "Authlib, client_secret_basic" invalid_client "$(ask "$CLIENT_SECRET" client_secret_basic)"
seen "Authlib, client_secret_post" "a token" "$(ask "$CLIENT_SECRET" client_secret_post)"
seen "Authlib, client_secret_basic, the secret form-encoded by hand" "a token" "$(ask 'half%2520price' client_secret_basic)"
