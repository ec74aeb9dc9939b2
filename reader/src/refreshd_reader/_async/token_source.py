"""A callable that returns an access token, for SDKs that take one."""

from __future__ import annotations

from typing import Protocol

from refreshd_reader.contract import Token
from refreshd_reader.token_source import AccessToken, with_end


class AsyncTokenReader(Protocol):
    """What a token source needs of an `AsyncReader`."""

    async def get(self, account: str, min_lifetime_s: float = 0.0) -> Token: ...


class AsyncTokenSource:
    """`await source()` returns the access token as text; `await source.get_token()` returns it with its end.

    The first fits SDKs that take a callable (`api_key=source`, `access_token=source`), the second those that
    take a credential in the manner of `azure.core.credentials.TokenCredential`.
    """

    def __init__(self, reader: AsyncTokenReader, account: str, min_lifetime_s: float) -> None:
        self._reader = reader
        self._account = account
        self._min_lifetime_s = min_lifetime_s

    async def __call__(self) -> str:
        return (await self._reader.get(self._account, self._min_lifetime_s)).access_token

    async def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        """Return the token and its end; the account's grant, not the caller, decides its scope."""
        return with_end(await self._reader.get(self._account, self._min_lifetime_s))
