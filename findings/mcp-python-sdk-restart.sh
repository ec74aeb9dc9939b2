#!/bin/sh
# mcp 2.3.0 (PyPI), its own OAuth client at its own authorization server; access tokens of 3 seconds.
#
# Expected: a process that starts with stored tokens, of which the access token has ended, refreshes as the one before did.
# Seen: it asks for a new consent. What is stored (expires_in, no point in time) does not tell it that the token has ended,
# so it sends it; to the 401 it answers with the whole authorization, and the refresh token that it has, which works, is
# never sent. Within one process it refreshes.

NAME=mcp TOKEN_PATH=/token
. "$(dirname "$0")/server.sh"
stop
sed -i.long 's/LIFETIME_S = 3600/LIFETIME_S = 3/' connection.py
run="venv/bin/python connection.py"
start

. "$here/mcp-client.sh"

seen "a new process, two calls 4 s apart: consents, last token" "1, token 2" "$(venv/bin/python client.py 2)"
cp tokens.json before.json
sleep 4
seen "the next process: consents, last token" "1, token 3" "$(venv/bin/python client.py 1)"
seen "the refresh token that it had from the start, by hand" 200 "$(by_hand before.json clientid.json)"
