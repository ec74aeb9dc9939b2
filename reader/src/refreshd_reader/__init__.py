"""Read the OAuth 2.0 access tokens that refreshd keeps fresh in Redis.

    from refreshd_reader import Reader

    reader = Reader.from_url("redis://connector:password@redis:6379/0")
    token = reader.get("acct-1")

`AsyncReader` is the same for asyncio. `refreshd_reader.httpx` and `refreshd_reader.requests` attach the token to
every request and replace it when an API refuses it.

The readers are imported when they are first used: `refreshd_reader.contract` alone, which the workers import, does
not load redis-py.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from refreshd_reader.contract import AccountState, Announcement, Keys, Rejection, Token
from refreshd_reader.errors import (
    Disabled,
    KeyMissing,
    Misconfigured,
    NoUsableToken,
    Paused,
    PayloadUnreadable,
    ReaderError,
    Reauthorize,
    RedisRefused,
    RedisUnreachable,
    RefreshUnderWay,
    TokenTooShort,
    UnknownAccount,
    UnusableUrl,
    WaitTimedOut,
)

if TYPE_CHECKING:
    from refreshd_reader._async.reader import AsyncReader
    from refreshd_reader._async.token_source import AsyncTokenSource
    from refreshd_reader._sync.reader import Reader
    from refreshd_reader._sync.token_source import TokenSource
    from refreshd_reader.token_source import AccessToken

__all__ = [
    "AccessToken",
    "AccountState",
    "Announcement",
    "AsyncReader",
    "AsyncTokenSource",
    "Disabled",
    "KeyMissing",
    "Keys",
    "Misconfigured",
    "NoUsableToken",
    "Paused",
    "PayloadUnreadable",
    "Reader",
    "ReaderError",
    "Reauthorize",
    "RedisRefused",
    "RedisUnreachable",
    "RefreshUnderWay",
    "Rejection",
    "Token",
    "TokenSource",
    "TokenTooShort",
    "UnknownAccount",
    "UnusableUrl",
    "WaitTimedOut",
]

_LAZY: Final = {
    "AccessToken": "refreshd_reader.token_source",
    "AsyncReader": "refreshd_reader._async.reader",
    "AsyncTokenSource": "refreshd_reader._async.token_source",
    "Reader": "refreshd_reader._sync.reader",
    "TokenSource": "refreshd_reader._sync.token_source",
}


if not TYPE_CHECKING:  # a type checker must still find a misspelt name

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
