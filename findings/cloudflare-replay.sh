#!/bin/sh
# @cloudflare/workers-oauth-provider 1.2.3 (npm) on Node.js.
#
# Expected: a refresh token that was used is refused, and the pair that was issued for it lives; or it is answered with
# that same pair again.
# Seen: it is answered with a third pair, any time later as long as nobody used the second, and then the second pair's
# refresh token is dead. Of two refreshes at once, both are answered, and only the later answer is worth keeping.

NAME=cloudflare-workers-oauth-provider TOKEN_PATH=/token
. "$(dirname "$0")/server.sh"

first=$(grant | field refresh_token)
refresh "$first"
second=$(printf %s "$body" | field refresh_token)
seen "the first refresh token" 200 "$status"
refresh "$first"
third=$(printf %s "$body" | field refresh_token)
seen "the first once more" 200 "$status"
seen "the answers' refresh tokens are" different "$([ "$second" = "$third" ] && echo the same || echo different)"
refresh "$second"
seen "the second" "400 invalid_grant" "$status $(printf %s "$body" | field error)"
refresh "$third"
seen "the third" 200 "$status"
