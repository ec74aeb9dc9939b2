"""What is wrong with the URL of a Redis, said before the first command, and without a piece of its password."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

from redis import RedisError

from refreshd_reader.errors import UnusableUrl

Pool = TypeVar("Pool")

_UNKNOWN: Final = re.compile(r"unexpected keyword argument '(\w+)'")
_UNREADABLE: Final = re.compile(r"Invalid value for '(\w+)'")
_NO_URL: Final = "is no URL of a Redis: redis://, rediss:// or unix:// is right, a password's / ? # [ written as %2F %3F %23 %5B"


def pool_of(kind: type[Pool], url: str, **options: Any) -> Pool:
    """Make a pool of connections to a URL.

    Raises:
        UnusableUrl: redis-py would fail on it, mostly at its first command.
    """
    made: Any = kind
    try:
        pool: Any = made.from_url(url, **options)
        pool.connection_class(**pool.connection_kwargs)  # nothing is connected yet
    except (TypeError, ValueError, AttributeError, RedisError) as error:
        raise UnusableUrl(f"what was given {_in_words(url, str(error))}") from None
    found: Pool = pool
    return found


def _in_words(url: str, said: str) -> str:
    options = url.partition("?")[2]
    if "@" in options:  # what passes for an option may be a piece of the password
        return _NO_URL
    if unknown := _UNKNOWN.search(said):
        return f"has an option {unknown[1]!r} that redis-py does not know: correct what stands behind its ?"
    if unreadable := _UNREADABLE.search(said):
        return f"has an option {unreadable[1]!r} whose value can't be read: correct what stands behind its ?"
    return f"has options that can't be read, or {_NO_URL}" if options else _NO_URL
