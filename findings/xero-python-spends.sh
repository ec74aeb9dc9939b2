#!/bin/sh
# xero-python 15.2.0 (PyPI, Xero's own; Xero rotates refresh tokens), refresh_oauth2_token().
#
# Expected: a field of the answer that it does not know is ignored (RFC 6749 section 5.1: the client MUST), and a scope that is
# stored as the answer had it, one string, is sent as it is.
# Seen: an unknown field raises TypeError before the function that saves tokens is called: the stored refresh token is the
# spent one, the new one is gone. And each refresh sends `scope`: from a list the names, from a string its letters, with a
# blank between every two, although can_refresh_access_token() takes a string.

. "$(dirname "$0")/library.sh"
python_packages xero-python==15.2.0

cat >client.py <<'PROGRAM'
import os, sys
from xero_python.api_client import ApiClient
from xero_python.api_client.configuration import Configuration
from xero_python.api_client.oauth2 import OAuth2Token, TokenApi

TokenApi.refresh_token_url = os.environ["SERVER"]
scope = "a bc" if sys.argv[1:] else ["a", "bc"]
stored = [{"access_token": "AT", "refresh_token": "RT", "token_type": "Bearer", "expires_in": 1800, "scope": scope}]
client = ApiClient(
    Configuration(oauth2_token=OAuth2Token("id", "secret")), oauth2_token_getter=lambda: stored[-1], oauth2_token_saver=stored.append
)
try:
    client.refresh_oauth2_token()
    print("saved,", stored[-1]["refresh_token"])
except TypeError as error:
    print("TypeError,", stored[-1]["refresh_token"])
PROGRAM

known='"access_token": "AT-2", "refresh_token": "RT-2", "token_type": "Bearer", "expires_in": 1800, "scope": "a bc"'
# refresh [text]: with a scope that is a list, or a text.
refresh() { found=$(venv/bin/python client.py "$@"); }
# scope: the one that was sent.
scope() { python3 -c 'import urllib.parse as u; print(u.parse_qs(open("forms").read().strip())["scope"][0])'; }

answers "{$known}"
refresh
seen "the fields that it knows: afterwards stored" "saved, RT-2" "$found"
seen "  scope sent, of a list" "a bc" "$(scope)"
answers "{$known}"
refresh text
seen "  scope sent, of the string \"a bc\"" "a   b c" "$(scope)"
answers "{$known, \"refresh_token_expires_in\": 5184000}"
refresh
seen "one field more: afterwards stored" "TypeError, RT" "$found"
