#!/bin/sh
# glewlwyd 2.7.5 (Debian 12), OpenID Connect plugin, `refresh-token-one-use: always`.
#
# Expected: a refresh with a wrong client secret is refused, and the refresh token stays what it was.
# Seen: it is refused with 400 and an empty body, and the refresh token is spent by it: with the right secret it is then
# refused too, and there is no other. An unknown refresh token, a spent one and a wrong secret get the same answer.
# In its default, `never`, the token lives.

NAME=glewlwyd TOKEN_PATH=/api/oidc/token
. "$(dirname "$0")/server.sh"

token=$(grant | field refresh_token)
refresh never-issued
seen "an unknown refresh token" "400 ()" "$status ($body)"
refresh "$token"
seen "a good one, right secret" 200 "$status"
token=$(printf %s "$body" | field refresh_token)
refresh "$token" wrong
seen "the next one, wrong secret" "400 ()" "$status ($body)"
refresh "$token"
seen "the same one, right secret" "400 ()" "$status ($body)"
