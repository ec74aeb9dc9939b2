#!/bin/sh
# canaille 0.3.6 (PyPI), store in memory, without the setting SERVER_NAME, which is optional.
#
# Expected: a wrong client secret is answered with 401 invalid_client (RFC 6749 section 5.2), as it is with SERVER_NAME.
# Seen: 500 internal_server_error; the description is the name of a method of authentication that it registers only where
# SERVER_NAME is set. A right secret is served. A client that retries server errors never hears that its secret is wrong.

NAME=canaille TOKEN_PATH=/oauth/token
. "$(dirname "$0")/server.sh"

token=$(grant | field refresh_token)
refresh "$token" wrong
seen "with SERVER_NAME, wrong secret" "401 invalid_client" "$status $(printf %s "$body" | field error)"

stop
sed -i.with '/"SERVER_NAME"/d' server.py
start
token=$(grant | field refresh_token)
refresh "$token" wrong
seen "without SERVER_NAME, wrong secret" "500 internal_server_error" "$status $(printf %s "$body" | field error)"
seen "  its description" "'client_assertion_jwt'" "$(printf %s "$body" | field error_description)"
refresh "$token"
seen "without SERVER_NAME, right secret" 200 "$status"
