#!/bin/sh
# @node-oauth/oauth2-server 5.3.0 (npm), with a store in memory; its own defaults.
#
# Expected: a refresh that is refused or that failed leaves the refresh token as it was; only an answer with tokens spends it.
# Seen: the refresh token is revoked first. After that the scope is looked at, so that a request whose scope has one word
# more than the grant is answered `invalid_scope`, and the refresh token is spent: the right request afterwards is
# `invalid_grant`. And a store that can't be written for a moment, when the new tokens are saved, is answered
# `server_error`: what is tried again after it is `invalid_grant`, too. Only a new consent helps after either.

. "$(dirname "$0")/library.sh"

cat >server.mjs <<'PROGRAM'
import OAuth2Server from "@node-oauth/oauth2-server";

const client = { id: "shop", grants: ["refresh_token"] };
const tokens = new Map();
let fails = false;

const model = {
	getClient: async () => client,
	getRefreshToken: async (name) => tokens.get(name),
	revokeToken: async (token) => tokens.delete(token.refreshToken),
	saveToken: async (token, _client, user) => {
		if (fails) throw new Error("the store is away for a moment");
		const saved = { ...token, client, user };
		tokens.set(token.refreshToken, saved);
		return saved;
	},
};
const server = new OAuth2Server({ model, requireClientAuthentication: { refresh_token: false } });

function granted(name) {
	tokens.set(name, { refreshToken: name, client, user: {}, scope: ["read"] });
	return name;
}

async function refresh(name, more = {}) {
	const body = { grant_type: "refresh_token", client_id: "shop", refresh_token: name, ...more };
	const headers = { "content-type": "application/x-www-form-urlencoded", "content-length": "1" };
	const request = new OAuth2Server.Request({ method: "POST", query: {}, headers, body });
	const response = new OAuth2Server.Response({});
	await server.token(request, response).catch(() => undefined);
	return `${response.status} ${response.body.error ?? "a new token"}`;
}

console.log("as granted:", await refresh(granted("a"), { scope: "read" }));
console.log("wider:", await refresh(granted("b"), { scope: "read write" }));
console.log("then as granted:", await refresh("b", { scope: "read" }));
granted("c");
fails = true;
console.log("store away:", await refresh("c"));
fails = false;
console.log("store back:", await refresh("c"));
PROGRAM

npm install --silent --no-fund --no-audit @node-oauth/oauth2-server@5.3.0 >install.log 2>&1 || { cat install.log; exit 2; }
node server.mjs >answers

answer() { sed -n "s/^$1: //p" answers; }

seen "a refresh with the scope of the grant" "200 a new token" "$(answer "as granted")"
seen "with one word more" "400 invalid_scope" "$(answer wider)"
seen "  the same refresh token, with the scope of the grant" "400 invalid_grant" "$(answer "then as granted")"
seen "a refresh whose new tokens can't be saved" "503 server_error" "$(answer "store away")"
seen "  the same refresh token, once they can" "400 invalid_grant" "$(answer "store back")"
