"""How values of settings look: errors show one, and where it comes from."""

from __future__ import annotations

from typing import Final

_REDIS_URLS: Final = (
    "redis://user:password@host:6379/0, rediss://... or sentinel://user:password@h1:26379,h2:26379/MASTER/0"
)
#: Setting -> an example of its value.
EXAMPLES: Final = {
    "keys": "k1:BASE64 of 32 bytes, made by `refreshd keys generate`",
    "publish_keys": "p1:BASE64 of 32 bytes, made by `refreshd keys generate`; connectors get the same",
    "intake_key": "k1:BASE64 of 32 bytes, printed by `refreshd keys intake`",
    "message_keys": "m1:BASE64 of 32 bytes, made by `refreshd keys generate`; beat and every worker get the same",
    "database_url": "sqlite:///path/refreshd.db or postgresql://user:password@host/database",
    "redis_url": f"{_REDIS_URLS}; beside a broker of its own also cluster://user:password@h1:6379,h2:6379",
    "broker_url": _REDIS_URLS,
    "flower_basic_auth": "user:password (several: comma separated; a password holds no comma)",
    "callback_modules": "my_callbacks,acme.refresh",
    "allow_http_hosts": "localhost,127.0.0.1",
    "allow_private_hosts": "idp.internal.example,10.0.0.7",
    "webhook_url": "https://host/path, comma separated where there are several",
    "webhook_secret": "whsec_BASE64, made by `refreshd webhooks secret`; comma separated while it is replaced",
    "expiring_days": "14,3,1",
}
