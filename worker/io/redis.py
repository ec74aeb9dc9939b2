"""Connections to Redis: the same time-outs and keep-alives everywhere, errors in our own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from worker.errors import RedisUnreachable

#: A half-open connection is given up after this long (without it a worker hung for two minutes).
SOCKET_TIMEOUT_S: Final = 5
HEALTH_CHECK_INTERVAL_S: Final = 10

SOCKET_OPTIONS: Final[dict[str, Any]] = {
    "socket_timeout": SOCKET_TIMEOUT_S,
    "socket_connect_timeout": SOCKET_TIMEOUT_S,
    "socket_keepalive": True,
    "health_check_interval": HEALTH_CHECK_INTERVAL_S,
}


def connect(url: str, **options: Any) -> redis.Redis:
    """Make a client for one thread's calls. A lost connection is tried once more, at once."""
    return redis.Redis.from_url(
        url, decode_responses=True, retry=Retry(NoBackoff(), 1), **SOCKET_OPTIONS, **options
    )


def connect_async(url: str, **options: Any) -> redis.asyncio.Redis:
    """Make a client for the process's event loop."""
    return redis.asyncio.Redis.from_url(
        url,
        decode_responses=True,
        retry=redis.asyncio.retry.Retry(NoBackoff(), 1),
        **SOCKET_OPTIONS,
        **options,
    )


@contextmanager
def in_words(url: str) -> Iterator[None]:
    """Turn Redis' own errors into one that says where it was looked for.

    Raises:
        RedisUnreachable: it does not answer, or refuses.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        where = url.rpartition("@")[2]
        raise RedisUnreachable(
            f"Redis at {where} can't be used: {error}. REFRESHD_REDIS_URL says where it is; "
            "`refreshd up` starts an embedded one"
        ) from error
