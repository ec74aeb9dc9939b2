"""Connections to Redis: the same time-outs and keep-alives everywhere, errors in our own words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, TypeVar, cast

import hiredis
import redis
import redis.asyncio
from redis.asyncio.client import Pipeline
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from refreshd_reader.redis.cluster import AsyncClusterClient, ClusterAddress, ClusterClient, is_cluster
from refreshd_reader.redis.pool import AsyncWaitingPool
from refreshd_reader.redis.sentinel import is_sentinel
from refreshd_reader.redis.url import pool_of
from worker.errors import RedisUnreachable
from worker.settings.redis_url import address_of

T = TypeVar("T")

#: A half-open connection is given up after this long, one that waits for messages after three times as long
#: (without it a worker hung for two minutes).
SOCKET_TIMEOUT_S: Final = 5
HEALTH_CHECK_INTERVAL_S: Final = 5
#: Connections of one event loop to Redis. Most commands travel in pipelines; more at once would only wait there.
CONNECTIONS_MAX: Final = 100
#: A node of a Cluster that hangs is given up sooner, so that the others are asked who has taken over from it.
NODE_TIMEOUT_S: Final = 2

SOCKET_OPTIONS: Final[dict[str, Any]] = {
    "socket_timeout": SOCKET_TIMEOUT_S,
    "socket_connect_timeout": SOCKET_TIMEOUT_S,
    "socket_keepalive": True,
    "health_check_interval": HEALTH_CHECK_INTERVAL_S,
}


def connect(url: str, **options: Any) -> redis.Redis:
    """Make a client for one thread's calls. A lost connection is tried once more, at once."""
    wanted = {"decode_responses": True, "retry": Retry(NoBackoff(), 1), **_socket_options(url), **options}
    if is_cluster(url):
        made: Any = ClusterClient(ClusterAddress.of(url), **wanted)
        return cast(redis.Redis, made)
    if is_sentinel(url):
        return redis.Redis.from_pool(pool_of(redis.ConnectionPool, url, **wanted))
    return redis.Redis.from_url(url, **wanted)


def connect_async(url: str, **options: Any) -> redis.asyncio.Redis:
    """Make a client for the process's event loop. Its calls go through `answered`, which is their time-out.

    A command that finds no connection free waits for one: answers of a hundred accounts may come in one turn of the loop.
    """
    wanted = {
        "max_connections": CONNECTIONS_MAX,
        "decode_responses": True,
        "retry": redis.asyncio.retry.Retry(NoBackoff(), 1),
        **_socket_options(url),
        "socket_timeout": None,
        **options,
    }
    if is_cluster(url):
        wanted |= {"socket_timeout": NODE_TIMEOUT_S}
        del wanted["max_connections"]  # its pools have none that wait
        made: Any = AsyncClusterClient(ClusterAddress.of(url), **wanted)
        return cast(redis.asyncio.Redis, made)
    pool: Any = pool_of(AsyncWaitingPool, url, wait_s=SOCKET_TIMEOUT_S, **wanted)
    pool.connection_class = _packing(pool.connection_class)
    return redis.asyncio.Redis.from_pool(pool)


async def answered(call: Awaitable[T]) -> T:
    """Wait for a call, but not for ever: one time-out a call, where redis-py would set one a reply.

    Raises:
        RedisError: it failed, or Redis did not answer in time.
    """
    try:
        async with asyncio.timeout(SOCKET_TIMEOUT_S):
            return await call
    except TimeoutError as error:
        raise RedisTimeoutError(f"no answer within {SOCKET_TIMEOUT_S} s") from error


def queue(pipeline: Pipeline, script: AsyncScript, keys: Sequence[str], args: Sequence[str | int]) -> None:
    """Add a script's call to a pipeline that `run` will run: what calling the script does, without its coroutines."""
    scripts: set[Any] = pipeline.scripts
    scripts.add(script)
    queued: list[Any] = pipeline.command_stack
    queued.append((("EVALSHA", script.sha, len(keys), *keys, *args), {}))


async def run(pipeline: Pipeline, *, some_may_fail: bool = False) -> list[Any]:
    """Run a pipeline in one round trip; a script that Redis has forgotten (a restart) is loaded, and run then.

    redis-py asks before each pipeline whether its scripts are there, which is a round trip of its own.

    With `some_may_fail` errors stand among the replies, unless all of them are errors.

    Raises:
        RedisError: the first error among the replies, or Redis did not answer in time.
    """
    scripts, pipeline.scripts = pipeline.scripts, set()
    commands = list(pipeline.command_stack)
    replies: list[Any] = await answered(pipeline.execute(raise_on_error=False))
    forgotten = [nth for nth, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if forgotten:
        for script in scripts:
            pipeline.script_load(script.script)
        for nth in forgotten:
            args, options = commands[nth]
            pipeline.execute_command(*args, **options)
        again = await answered(pipeline.execute(raise_on_error=False))
        for nth, reply in zip(forgotten, again[len(scripts) :], strict=True):
            replies[nth] = reply
    errors = [reply for reply in replies if isinstance(reply, RedisError)]
    if errors and not (some_may_fail and len(errors) < len(replies)):
        raise errors[0]
    return replies


def _socket_options(url: str) -> dict[str, Any]:
    """Return the options that a connection knows: a unix socket has no keep-alive."""
    if not url.startswith("unix://"):
        return SOCKET_OPTIONS
    return {name: value for name, value in SOCKET_OPTIONS.items() if name != "socket_keepalive"}


@cache
def _packing(connection_class: type[Any]) -> type[Any]:
    """Return a class of connections that packs commands in C; redis-py does so in its blocking client alone."""

    class Packing(connection_class):  # type: ignore[misc]
        def pack_command(self, *args: Any) -> list[bytes]:
            return [_packed(args)]

        def pack_commands(self, commands: Iterable[tuple[Any, ...]]) -> list[bytes]:
            return [b"".join(map(_packed, commands))]

    return Packing


def _packed(args: tuple[Any, ...]) -> bytes:
    # "SCRIPT LOAD" is two words on the wire.
    packed: bytes = hiredis.pack_command((*str(args[0]).split(), *args[1:]))
    return packed


@contextmanager
def in_words(url: str) -> Iterator[None]:
    """Turn Redis' own errors into one that says where it was looked for.

    Raises:
        RedisUnreachable: it does not answer, or refuses.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        raise RedisUnreachable(
            f"Redis at {address_of(url)} can't be used: {str(error).rstrip('.')}. REFRESHD_REDIS_URL says where it is"
            f"{_of_tls(url, error)}; where it is not set (`unset REFRESHD_REDIS_URL`) `refreshd up` starts an embedded one"
        ) from error


def _of_tls(url: str, error: Exception) -> str:
    """A server that misses the client's certificate says so by a TLS alert, or hangs up before it is out."""
    if not url.startswith(("rediss://", "sentinels://", "clusters://")) or "refused" in str(error):
        return ""
    return (
        ", with ssl_ca_certs=FILE whom it trusts, and with ssl_certfile=FILE and ssl_keyfile=FILE what to show "
        "(docs/deployment.md, TLS)"
    )
