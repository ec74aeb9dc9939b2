#!/bin/sh
# django-oauth-toolkit 3.4.1 (PyPI) with REFRESH_TOKEN_EXPIRE_SECONDS; 8 seconds here, access tokens of 8 seconds.
#
# Expected: a refresh token ends that long after it was issued, and the answer's refresh_token_expires_in says so, if anything does.
# Seen: it ends that long after the end of its access token: longer access tokens keep an unused grant longer, and no answer
# has that field. And it ends with its access token's row: who deletes the rows of ended access tokens to save room (by
# Django's ORM, as below in SQL) ends their grants; the package's own `cleartokens` leaves them alone.

NAME=django-oauth-toolkit TOKEN_PATH=/o/token/ ACCESS_TOKEN_S=8
. "$(dirname "$0")/server.sh"
stop
sed -i.endless 's/"REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,/& "REFRESH_TOKEN_EXPIRE_SECONDS": 8,/' server.py
start

first=$(grant | field refresh_token)
idle=$(grant | field refresh_token)
ended=$(grant)
sleep 11
refresh "$first"
seen "11 s after its issue" 200 "$status"
seen "  refresh_token_expires_in" none "$(printf %s "$body" | field refresh_token_expires_in)"
venv/bin/python - <<PROGRAM
import sqlite3
with sqlite3.connect("server.db") as database:
    database.execute("UPDATE oauth2_provider_refreshtoken SET access_token_id = NULL WHERE access_token_id IN "
                     "(SELECT id FROM oauth2_provider_accesstoken WHERE token = ?)", ["$(printf %s "$ended" | field access_token)"])
    database.execute("DELETE FROM oauth2_provider_accesstoken WHERE token = ?", ["$(printf %s "$ended" | field access_token)"])
PROGRAM
refresh "$(printf %s "$ended" | field refresh_token)"
seen "the same, the row of its ended access token deleted" "400 invalid_grant" "$status $(printf %s "$body" | field error)"
sleep 7
refresh "$idle"
seen "18 s after its issue, 10 s after its access token's end" "400 invalid_grant" "$status $(printf %s "$body" | field error)"
