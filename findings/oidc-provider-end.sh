#!/bin/sh
# oidc-provider 9.13.3 (npm), a confidential client, its own policy of rotation; refresh tokens of 20 seconds.
#
# Expected: a refresh token that is used all the time stays alive: it rotates, or each use prolongs it.
# Seen: until 70 % of its life a use returns the same refresh token, whose end does not move; only a use in the last 30 %
# brings a new one, with a life of its own. A client that refreshes daily is safe; one whose accounts are refreshed
# rarely (less often than every 30 % of the refresh token's life) can use each token in time and still lose the grant.

NAME=oidc-provider TOKEN_PATH=/token
. "$(dirname "$0")/server.sh"
stop
sed -i.long 's/RefreshToken: 86_400/RefreshToken: 20/' server.mjs
start

used=$(grant | field refresh_token)
rare=$(grant | field refresh_token)
sleep 10
refresh "$rare"
seen "half of its life over" 200 "$status"
seen "  the refresh token in the answer" "the same" "$([ "$(printf %s "$body" | field refresh_token)" = "$rare" ] && echo the same || echo another)"
sleep 6
refresh "$used"
seen "80 % of its life over" 200 "$status"
seen "  the refresh token in the answer" another "$([ "$(printf %s "$body" | field refresh_token)" = "$used" ] && echo the same || echo another)"
new=$(printf %s "$body" | field refresh_token)
sleep 6
refresh "$rare"
seen "12 s after a use at half time, 22 s after its issue" "400 invalid_grant" "$status $(printf %s "$body" | field error)"
refresh "$new"
seen "6 s after a use at 80 %" 200 "$status"
