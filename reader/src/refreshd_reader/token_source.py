"""Callables that give an access token, in the shapes that SDKs ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from refreshd_reader.redis.wire import wall_clock

if TYPE_CHECKING:
    from refreshd_reader.async_reader import AsyncReader
    from refreshd_reader.contract import Token
    from refreshd_reader.reader import Reader

#: What `expires_on` says of a token without a known end, seconds from now: an SDK wants a number, and this one
#: has it ask again soon.
UNKNOWN_END_S: Final = 300


class AccessToken(NamedTuple):
    """A token and its end in epoch seconds, as `azure.core.credentials.AccessToken` has them."""

    token: str
    expires_on: int


class TokenSource:
    """`source()` gives the access token as text; `source.get_token()` gives it with its end.

    The first fits SDKs that take a callable (`api_key=source`, `access_token=source`), the second those that
    take a credential in the manner of `azure.core.credentials.TokenCredential`.
    """

    def __init__(self, reader: Reader, account: str, min_lifetime_s: float) -> None:
        self._reader = reader
        self._account = account
        self._min_lifetime_s = min_lifetime_s

    def __call__(self) -> str:
        return self._reader.get(self._account, self._min_lifetime_s).access_token

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        """Return the token and its end; the account's grant, not the caller, decides its scope."""
        return _with_end(self._reader.get(self._account, self._min_lifetime_s))


class AsyncTokenSource:
    """`TokenSource` for asyncio: `await source()`, `await source.get_token()`."""

    def __init__(self, reader: AsyncReader, account: str, min_lifetime_s: float) -> None:
        self._reader = reader
        self._account = account
        self._min_lifetime_s = min_lifetime_s

    async def __call__(self) -> str:
        return (await self._reader.get(self._account, self._min_lifetime_s)).access_token

    async def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        """Return the token and its end; the account's grant, not the caller, decides its scope."""
        return _with_end(await self._reader.get(self._account, self._min_lifetime_s))


def _with_end(token: Token) -> AccessToken:
    ends_at = wall_clock() + UNKNOWN_END_S if token.expires_at is None else token.expires_at
    return AccessToken(token.access_token, int(ends_at))
