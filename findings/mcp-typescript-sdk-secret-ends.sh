#!/bin/sh
# @modelcontextprotocol/sdk 1.32.2 (npm), its authorization router with clients that register themselves.
#
# Expected: a client that registered itself (RFC 7591) with a secret, as the metadata offer first, stays registered while it is used.
# Seen: its secret ends 30 days after the registration (20 seconds here, by the router's own option): each refresh is
# invalid_client from then on, though the grant is alive, and no registration can be read or renewed (RFC 7592). A client
# that registered without a secret goes on.

NAME=mcp-typescript-sdk TOKEN_PATH=/token
. "$(dirname "$0")/server.sh"
stop
sed -i.long "s/scopesSupported: \['tools'\],/&\n  clientRegistrationOptions: { clientSecretExpirySeconds: 20 },/" connection.mjs
run="node connection.mjs"
start

CALLBACK=http://127.0.0.1/callback

# register METHOD: the answer of a registration.
register() {
	curl --silent "$SERVER/register" --header 'content-type: application/json' --data "{\"client_name\": \"any\",
		\"redirect_uris\": [\"$CALLBACK\"], \"grant_types\": [\"authorization_code\", \"refresh_token\"],
		\"token_endpoint_auth_method\": \"$1\", \"scope\": \"tools\"}"
}

# connect REGISTRATION: the refresh token of a consent; the verifier's hash is RFC 7636's own example.
connect() {
	id=$(printf %s "$1" | field client_id)
	secret=$(printf %s "$1" | field client_secret)
	code=$(curl --silent --output /dev/null --write-out '%{redirect_url}' --get "$SERVER/authorize" \
		--data response_type=code --data-urlencode "client_id=$id" --data-urlencode "redirect_uri=$CALLBACK" --data scope=tools \
		--data code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM --data code_challenge_method=S256 \
		--data-urlencode "resource=$SERVER/mcp" | sed 's/.*code=//')
	token --data grant_type=authorization_code --data "code=$code" --data-urlencode "redirect_uri=$CALLBACK" \
		--data code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk
}

# token WORDS...: asks the token endpoint as the client; its status into $status, its body into $body.
token() {
	status=$(curl --silent --output body --write-out '%{http_code}' "$SERVER$TOKEN_PATH" "$@" \
		--data-urlencode "client_id=$id" --data-urlencode "resource=$SERVER/mcp" \
		$([ "$secret" = none ] || printf %s "--data client_secret=$secret"))
	body=$(cat body)
}

refreshed() { token --data grant_type=refresh_token --data "refresh_token=$1"; }

with_secret=$(register client_secret_post)
without=$(register none)
seen "a registration with a secret: where it is managed" none "$(printf %s "$with_secret" | field registration_client_uri)"
connect "$without"
public=$body
connect "$with_secret"
refreshed "$(printf %s "$body" | field refresh_token)"
seen "with the secret, before its end" 200 "$status"
last=$(printf %s "$body" | field refresh_token)
sleep 20
refreshed "$last"
seen "with the secret, after its end" "400 invalid_client" "$status $(printf %s "$body" | field error)"
id=$(printf %s "$without" | field client_id) secret=none
refreshed "$(printf %s "$public" | field refresh_token)"
seen "without a secret, at the same time" 200 "$status"
