"""Checks a Redis URL before the first command; its errors never hold a piece of the password."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

from redis import RedisError
from redis.asyncio import ConnectionPool as AsyncConnectionPool

from refreshd_reader.errors import UnusableUrl
from refreshd_reader.redis.sentinel import SentinelAddress, is_sentinel

Pool = TypeVar("Pool")

_UNKNOWN: Final = re.compile(r"unexpected keyword argument '(\w+)'")
_UNREADABLE: Final = re.compile(r"Invalid value for '(\w+)'")
_NO_URL: Final = "not a Redis URL; expected redis://, rediss://, unix://, sentinel:// or cluster://, with / ? # [ in a password written as %2F %3F %23 %5B"


def pool_of(kind: type[Pool], url: str, **options: Any) -> Pool:
    """Return a pool of connections to a URL.

    Raises:
        UnusableUrl: redis-py would fail on it, usually at its first command.
    """
    made: Any = kind
    try:
        pool: Any = _sentinel_pool(made, url, options) if is_sentinel(url) else made.from_url(url, **options)
        pool.connection_class(**pool.connection_kwargs)  # nothing is connected yet
    except (TypeError, ValueError, AttributeError, RedisError) as error:
        raise UnusableUrl(_problem(url, str(error))) from None
    found: Pool = pool
    return found


def _sentinel_pool(kind: Any, url: str, options: dict[str, Any]) -> Any:
    address = SentinelAddress.of(url)
    return kind(**address.connection_kwargs(asynchronous=issubclass(kind, AsyncConnectionPool)), **options)


def _problem(url: str, message: str) -> str:
    if message.startswith("not a Sentinel URL"):
        return message
    options = url.partition("?")[2]
    if "@" in options:  # the apparent options may be a piece of the password
        return _NO_URL
    if unknown := _UNKNOWN.search(message):
        return f"unknown option {unknown[1]!r} in the Redis URL: correct the part after its ?"
    if unreadable := _UNREADABLE.search(message):
        return f"invalid value of the option {unreadable[1]!r} in the Redis URL: correct the part after its ?"
    return f"invalid options in the Redis URL, or {_NO_URL}" if options else _NO_URL
