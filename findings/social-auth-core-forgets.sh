#!/bin/sh
# social-auth-core 7.0.0 (PyPI; Python Social Auth, of which social-auth-app-django is the Django side), its 181 OAuth 2
# backends that can be imported without further packages.
#
# Expected: after a login that was answered with `refresh_token` and `expires_in`, both are in the account's `extra_data`, and
# get_access_token() refreshes once the access token has ended.
# Seen: what is stored is each backend's own list. 76 store no refresh token, among them those of X, DigitalOcean, Coinbase and
# Patreon: there is nothing to export, and the ended token is handed out, or a new login asked for where the end is stored.
# 25 store it and not the end (Box, Salesforce, Spotify, generic OpenID Connect): get_access_token() hands out the ended token
# without a request, though refresh_token() works. Where both are stored (HubSpot's backend) it refreshes and keeps the new
# refresh token. The setting SOCIAL_AUTH_NAME_EXTRA_DATA adds to such a list.

. "$(dirname "$0")/library.sh"
python_packages social-auth-core==7.0.0 requests==2.34.2

cat >client.py <<'PROGRAM'
import inspect, os, pkgutil, sys
from importlib import import_module
import social_core.backends
from social_core.backends.oauth import BaseOAuth2
from social_core.exceptions import AuthCredentialError
from social_core.storage import UserMixin
from social_core.strategy import BaseStrategy


class Strategy(BaseStrategy):
    """No settings, and whichever backend is asked for."""

    def get_setting(self, name):
        return {"SOCIAL_AUTH_TWITTER_OAUTH2_EXTRA_DATA": more}[name]

    def get_backend(self, name, *args, **kwargs):
        return backends[name](self)

    def get_request_data(self, merge=True):
        return {}

    def build_absolute_uri(self, path=None):
        return "http://127.0.0.1/"


class Account(UserMixin):
    user, uid = None, "1"

    def __init__(self, provider):
        self.provider = provider
        self.extra_data = strategy.get_backend(provider).extra_data(None, "1", answer, {}, {})

    def save(self):
        pass


more = []
strategy = Strategy(storage=None)
answer = {"access_token": "AT-1", "refresh_token": "RT-1", "expires_in": 3600, "token_type": "Bearer"}
backends = {}
for module in pkgutil.iter_modules(social_core.backends.__path__):
    try:
        found = import_module(f"social_core.backends.{module.name}")
    except ModuleNotFoundError:
        continue
    for one in vars(found).values():
        if inspect.isclass(one) and issubclass(one, BaseOAuth2) and one.__module__ == found.__name__ and one.name:
            backends[f"{found.__name__}.{one.__name__}"] = one

by_name = {one.name: one for one in backends.values()}
if sys.argv[1] == "count":
    accounts = [Account(name) for name in backends]
    without = [one for one in accounts if one.extra_data.get("refresh_token") != "RT-1"]
    endless = [one for one in accounts if one not in without and one.expiration_timedelta() is None]
    print(f"{len(accounts)}, {len(without)}, {len(endless)}")
else:
    backends = by_name
    more = ["refresh_token"] if sys.argv[2:] == ["more"] else []
    for one in by_name.values():
        one.ACCESS_TOKEN_URL = one.REFRESH_TOKEN_URL = os.environ["SERVER"]
    account = Account(sys.argv[1])
    account.extra_data["auth_time"] -= 7200
    try:
        handed_out = account.get_access_token(strategy)
    except AuthCredentialError:
        handed_out = "raised"
    if sys.argv[2:] == ["by-hand"]:
        account.refresh_token(strategy)
        handed_out = account.access_token
    print(f"{handed_out}, {account.extra_data.get('refresh_token')}")
PROGRAM

an_hour_later() {
	answers '{"access_token": "AT-2", "refresh_token": "RT-2", "expires_in": 3600, "token_type": "Bearer"}'
	found=$(venv/bin/python -W ignore client.py "$@")
}
answers '{}'
seen "backends, without a refresh token, with one but no end" "181, 76, 25" "$(venv/bin/python -W ignore client.py count)"
an_hour_later hubspot
seen "HubSpot, an hour after the end: handed out, stored" "AT-2, RT-2" "$found"
for name in box salesforce-oauth2 spotify; do
	an_hour_later $name
	seen "$name: handed out, stored; asked" "AT-1, RT-1; 0" "$found; $(wc -l <asked | tr -d ' ')"
done
an_hour_later box by-hand
seen "box, refresh_token(): stored" "AT-2, RT-2" "$found"
for name in twitter-oauth2 coinbase patreon; do
	an_hour_later $name
	seen "$name: handed out, stored" "AT-1, None" "$found"
done
an_hour_later digitalocean
seen "digitalocean: handed out, stored" "raised, None" "$found"
an_hour_later twitter-oauth2 more
seen "twitter-oauth2, refresh_token among EXTRA_DATA: stored" "AT-1, RT-1" "$found"
