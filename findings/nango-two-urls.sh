#!/bin/sh
# @nangohq/providers 0.71.10 (npm): the descriptions of providers that many integrations are built from.
#
# Expected: `token_url` of an OAuth 2 provider is one URL of that provider, with fields to fill in.
# Seen: in 23 of 572 (aliases resolved) it is two in one string, joined by " || ", the second for connections without the
# first one's field; filled in, such a string still parses as one URL, whose path holds the other. In one it is an object, a
# URL for each mode of authentication. And PayFit's is PagerDuty's, word for word, though its authorization_url is its own.

. "$(dirname "$0")/library.sh"
npm install --no-save --ignore-scripts --no-audit --no-fund @nangohq/providers@0.71.10 >install.log 2>&1 || { cat install.log; exit 2; }

cat >read.mjs <<'PROGRAM'
import { getProviders } from '@nangohq/providers';
const providers = Object.entries(getProviders());
const named = Object.fromEntries(providers);
const urls = providers.map(([, one]) => one.token_url).filter(Boolean);
const two = urls.filter((url) => typeof url === 'string' && url.includes(' || '));
const filled = (url) => url.replace(/\$\{[^}]*\}/g, 'login');
console.log({
  two: `${two.length} of ${urls.length}`,
  parsed: two.filter((url) => URL.canParse(filled(url))).length,
  objects: providers.filter(([, one]) => typeof one.token_url === 'object').map(([name]) => name).join(' '),
  salesforce: new URL(filled(named.salesforce.token_url)).pathname,
  consent: named.payfit.authorization_url,
  payfit: named.payfit.token_url,
  pagerduty: named.pagerduty.token_url,
}[process.argv[2]]);
PROGRAM

read_as() { node read.mjs "$1"; }
seen "token_url that are two" "23 of 572" "$(read_as two)"
seen "  of these, filled in, that parse as one" 23 "$(read_as parsed)"
seen "  Salesforce's, its path" "/services/oauth2/token%20||%20https://login.salesforce.com/services/oauth2/token" "$(read_as salesforce)"
seen "token_url that are objects" github-app-oauth "$(read_as objects)"
seen "PayFit's authorization_url" https://oauth.payfit.com/authorize "$(read_as consent)"
seen "PayFit's token_url" https://app.pagerduty.com/oauth/token "$(read_as payfit)"
seen "PagerDuty's token_url" https://app.pagerduty.com/oauth/token "$(read_as pagerduty)"
