"""Redis behind Sentinel: the URL, and connections that ask the sentinels who is primary each time they connect.

    sentinel://USER:PASSWORD@HOST:26379,HOST:26379,HOST:26379/MASTER/0?sentinel_username=U&sentinel_password=P
    sentinels://...?ssl_ca_certs=FILE     (TLS, to sentinels and servers alike)

User and password are the servers'; a sentinel has its own, where it asks for one. A connection class does it, and no pool
of its own: whatever pool there is serves as it serves one server.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError
from redis.retry import Retry

from refreshd_reader.redis.hosts import HostsUrl, host_text
from refreshd_reader.redis.tls import tls_options

SCHEMES: Final = ("sentinel", "sentinels")
SENTINEL_PORT: Final = 26379
#: A sentinel that says nothing for so long is passed over, seconds: two that are dead cost less than a call's time-out.
SENTINEL_TIMEOUT_S: Final = 1.0
#: Options of the URL beside those of TLS.
OPTIONS: Final = frozenset({"sentinel_username", "sentinel_password"})

_NO_URL: Final = (
    "not a Sentinel URL; expected sentinel://USER:PASSWORD@HOST:26379,HOST:26379/MASTER/0 (sentinels:// with TLS), "
    "with @ : / ? # [ in a password written as %40 %3A %2F %3F %23 %5B"
)
#: redis-py's classes, which are not typed.
_SENTINEL: Final[Any] = redis.sentinel.Sentinel
_ASYNC_SENTINEL: Final[Any] = redis.asyncio.sentinel.Sentinel
_DEMOTED: Final = "it was the primary, and is a replica now"


def is_sentinel(url: str) -> bool:
    """Return whether a URL names sentinels."""
    return url.partition("://")[0] in SCHEMES


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Where the sentinels are, which primary they watch, and how to log in."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    #: Login and TLS of the sentinels, as redis-py names them.
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)
    #: TLS of the servers; empty: none.
    tls_options: dict[str, Any] = field(default_factory=dict, repr=False)
    tls: bool = False

    @classmethod
    def of(cls, url: str) -> SentinelAddress:
        """Read a URL.

        Raises:
            ValueError: it is none; the text holds no piece of it.
        """
        try:
            parts = HostsUrl.of(url, port=SENTINEL_PORT)
            master, database = re.fullmatch(r"/([^/]+)(?:/(\d+)?)?", parts.path).groups()  # type: ignore[union-attr]
        except (ValueError, AttributeError):
            raise ValueError(_NO_URL) from None
        if parts.scheme not in SCHEMES:
            raise ValueError(_NO_URL)
        own = {
            name.removeprefix("sentinel_"): value
            for name, value in parts.options.items()
            if name in OPTIONS and value
        }
        return cls(
            hosts=parts.hosts,
            master=unquote(master),
            database=int(database or 0),
            username=parts.username,
            password=parts.password,
            sentinel_options=own,
            tls_options=tls_options(parts.options),
            tls=parts.scheme == "sentinels",
        )

    def sentinel_kwargs(self) -> dict[str, Any]:
        """Return the arguments of a client of a sentinel."""
        tls = {"ssl": True, **self.tls_options} if self.tls else {}
        return {
            "socket_timeout": SENTINEL_TIMEOUT_S,
            "socket_connect_timeout": SENTINEL_TIMEOUT_S,
            **self.sentinel_options,
            **tls,
        }

    def connection_kwargs(self, *, asynchronous: bool) -> dict[str, Any]:
        """Return what a pool of redis-py needs to make connections to the primary."""
        kinds: dict[tuple[bool, bool], type[Any]] = {
            (False, False): PrimaryConnection,
            (False, True): PrimarySSLConnection,
            (True, False): AsyncPrimaryConnection,
            (True, True): AsyncPrimarySSLConnection,
        }
        return {
            "connection_class": kinds[asynchronous, self.tls],
            "sentinel": self,
            "host": self.master,  # until the sentinels have answered
            "db": self.database,
            "username": self.username,
            "password": self.password,
            **self.tls_options,
        }

    def _not_found(self) -> str:
        return (
            f"no sentinel answers that knows a primary {self.master!r} which is up (asked: {', '.join(map(host_text, self.hosts))}), "
            "or its login is wrong: sentinel_username, sentinel_password"
        )

    def primary(self) -> tuple[str, int]:
        """Return host and port of the primary, as the first sentinel says that knows one that is up.

        Raises:
            redis.ConnectionError: none knows one.
        """
        manager = _SENTINEL(
            self.hosts, sentinel_kwargs={**self.sentinel_kwargs(), "retry": Retry(NoBackoff(), 0)}
        )
        try:
            found: tuple[str, int] = manager.discover_master(self.master)
        except (
            redis.sentinel.MasterNotFoundError
        ):  # whose text has the arguments of each client, passwords among them
            raise RedisConnectionError(self._not_found()) from None
        finally:
            for one in manager.sentinels:
                one.close()
        return found

    async def primary_async(self) -> tuple[str, int]:
        """`primary` for asyncio."""
        manager = _ASYNC_SENTINEL(
            self.hosts, sentinel_kwargs={**self.sentinel_kwargs(), "retry": AsyncRetry(NoBackoff(), 0)}
        )
        try:
            found: tuple[str, int] = await manager.discover_master(self.master)
        except redis.asyncio.sentinel.MasterNotFoundError:
            raise RedisConnectionError(self._not_found()) from None
        finally:
            for one in manager.sentinels:
                await one.aclose()
        return found


class _Primary:
    """What makes a connection of redis-py one to the primary."""

    def __init__(self, *, sentinel: SentinelAddress, **options: Any) -> None:
        self._sentinel = sentinel
        super().__init__(**options)

    def _connect(self) -> Any:
        me: Any = self
        me.host, me.port = self._sentinel.primary()
        return super()._connect()  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except ReadOnlyError:
            me: Any = self
            me.disconnect()
            raise RedisConnectionError(_DEMOTED) from None


class _AsyncPrimary:
    """`_Primary` for asyncio."""

    def __init__(self, *, sentinel: SentinelAddress, **options: Any) -> None:
        self._sentinel = sentinel
        super().__init__(**options)

    async def _connect(self) -> Any:
        me: Any = self
        me.host, me.port = await self._sentinel.primary_async()
        return await super()._connect()  # type: ignore[misc]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except ReadOnlyError:
            me: Any = self
            with suppress(OSError):
                await me.disconnect()
            raise RedisConnectionError(_DEMOTED) from None


class PrimaryConnection(_Primary, redis.Connection):
    """A connection to the primary."""


class PrimarySSLConnection(_Primary, redis.SSLConnection):
    """A connection to the primary, by TLS."""


class AsyncPrimaryConnection(_AsyncPrimary, redis.asyncio.Connection):
    """A connection to the primary for asyncio."""


class AsyncPrimarySSLConnection(_AsyncPrimary, redis.asyncio.SSLConnection):
    """A connection to the primary for asyncio, by TLS."""
