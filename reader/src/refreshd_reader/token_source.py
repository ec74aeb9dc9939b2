"""A token with its end, in the shape that SDKs ask for."""

from __future__ import annotations

from typing import Final, NamedTuple

from refreshd_reader.contract import Token
from refreshd_reader.redis.wire import wall_clock

#: `expires_on` of a token without a known end, seconds from now: an SDK wants a number, and this one makes it
#: ask again soon.
UNKNOWN_END_S: Final = 300


class AccessToken(NamedTuple):
    """A token and its end in epoch seconds, as `azure.core.credentials.AccessToken` has them."""

    token: str
    expires_on: int


def with_end(token: Token) -> AccessToken:
    """Return a token's text and end."""
    ends_at = wall_clock() + UNKNOWN_END_S if token.expires_at is None else token.expires_at
    return AccessToken(token.access_token, int(ends_at))
