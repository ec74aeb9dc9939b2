#!/bin/sh
# Doorkeeper 5.5.0 (Debian 12's ruby-doorkeeper with Rails 6.1), as its own migration makes its tables: with the column
# `previous_refresh_token`, by which a spent refresh token works until the answer to it is known to have arrived.
#
# Expected: a refresh token that is used twice is answered with the same pair twice, or is refused the second time.
# Seen: each use is answered with another pair, and the pairs live side by side. The first use of one of the new access
# tokens ends the old refresh token; the other pair, which nobody uses, stays alive as well.

NAME=doorkeeper TOKEN_PATH=/oauth/token
. "$(dirname "$0")/server.sh"

old=$(grant | field refresh_token)
refresh "$old"
seen "the refresh token" 200 "$status"
access=$(printf %s "$body" | field access_token)
first=$(printf %s "$body" | field refresh_token)
refresh "$old"
second=$(printf %s "$body" | field refresh_token)
seen "the same once more" 200 "$status"
seen "  the answers' refresh tokens are" different "$([ "$first" = "$second" ] && echo the same || echo different)"
used=$(curl --silent --output used --write-out '%{http_code}' --header "Authorization: Bearer $access" "$SERVER/resource")
seen "the first answer's access token, used" 200 "$used"
refresh "$old"
seen "the old refresh token from then on" "400 invalid_grant" "$status $(printf %s "$body" | field error)"
refresh "$second"
seen "the second answer's refresh token" 200 "$status"
refresh "$first"
seen "the first answer's refresh token" 200 "$status"
