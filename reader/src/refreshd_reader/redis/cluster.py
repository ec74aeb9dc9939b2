"""Redis Cluster: the URL, and redis-py's clients with three differences.

    cluster://USER:PASSWORD@HOST:6379,HOST:6379,HOST:6379
    clusters://...?ssl_ca_certs=FILE     (TLS)

Any node that answers says where the others are. The blocking client connects with its first command and not before, as a
client of one server does; both raise redis-py's `RedisError` alone, where redis-py has a second family of errors for
Clusters; and a script that a node lacks is loaded into each primary.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha1
from typing import Any, Final, Self

import redis.asyncio.cluster
import redis.cluster
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    NoScriptError,
    RedisClusterException,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from refreshd_reader.errors import UnusableUrl
from refreshd_reader.redis.hosts import HostsUrl
from refreshd_reader.redis.pool import WaitingPool
from refreshd_reader.redis.tls import tls_options

SCHEMES: Final = ("cluster", "clusters")
PORT: Final = 6379
#: Options of the URL that both of redis-py's clients of a Cluster take.
TLS_OPTIONS: Final = frozenset(
    {"ssl_ca_certs", "ssl_ca_data", "ssl_cert_reqs", "ssl_check_hostname", "ssl_certfile", "ssl_keyfile"}
)
#: Seconds for which a blocking command waits on one node at a time; shorter than a socket's time-out.
BLOCK_S: Final = 1.0
#: An asyncio command that waits holds a connection: many may wait at once.
CONNECTIONS_MAX: Final = 10_000

_NO_URL: Final = (
    "not a Cluster URL; expected cluster://USER:PASSWORD@HOST:6379,HOST:6379 (clusters:// with TLS), without a database, "
    "with @ : / ? # [ in a password written as %40 %3A %2F %3F %23 %5B"
)
_REFUSALS: Final = (AuthenticationError, AuthorizationError, NoPermissionError)
#: redis-py's classes, whose constructors and commands are typed for one server.
_SYNC: Final[Any] = redis.cluster.RedisCluster
_NODE: Final[Any] = redis.cluster.ClusterNode
_ASYNC: Final[Any] = redis.asyncio.cluster.RedisCluster
_ASYNC_PIPELINE: Final[Any] = redis.asyncio.cluster.ClusterPipeline


def is_cluster(url: str) -> bool:
    """Return whether a URL names a Redis Cluster."""
    return url.partition("://")[0] in SCHEMES


def usable(url: str) -> ClusterAddress:
    """Read a connector's URL.

    Raises:
        UnusableUrl: as `ClusterAddress.of`.
    """
    try:
        return ClusterAddress.of(url)
    except ValueError as error:
        raise UnusableUrl(str(error)) from None


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Where some of a Cluster's nodes are, and how to log in to all of them."""

    hosts: tuple[tuple[str, int], ...]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    #: What a URL says of TLS, as redis-py names it; empty without TLS.
    tls_options: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, url: str) -> ClusterAddress:
        """Read a URL.

        Raises:
            ValueError: it is none, or has an option that is unknown; the text holds no piece of the password.
        """
        try:
            parts = HostsUrl.of(url, port=PORT)
        except ValueError:
            raise ValueError(_NO_URL) from None
        # A Cluster has one database, number 0.
        if parts.scheme not in SCHEMES or parts.path not in ("", "/", "/0"):
            raise ValueError(_NO_URL)
        tls = parts.scheme == "clusters"
        takes = TLS_OPTIONS if tls else frozenset[str]()
        if unknown := parts.options.keys() - takes:
            raise ValueError(
                f"unknown option {min(unknown)!r} in the Redis URL; {parts.scheme}:// takes {', '.join(sorted(takes)) or 'none'}"
            )
        return cls(
            hosts=parts.hosts,
            username=parts.username,
            password=parts.password,
            tls_options={"ssl": True, **tls_options(parts.options)} if tls else {},
        )

    def client_kwargs(self) -> dict[str, Any]:
        """Return what either client needs beside its nodes."""
        return {
            "username": self.username,
            "password": self.password,
            # A reader of one shard is served while another shard is away.
            "require_full_coverage": False,
            **self.tls_options,
        }


class ClusterClient:
    """A blocking client of a Cluster. What it has not itself is that of redis-py's, which connects as it is made."""

    def __init__(self, address: ClusterAddress, **options: Any) -> None:
        self._address = address
        self._options = options
        self._making = threading.Lock()
        self._made: Any = None

    @classmethod
    def pooled(cls, url: str, *, max_connections: int, wait_s: float, **options: Any) -> Self:
        """Return a client with a bounded pool of connections to each node.

        Raises:
            UnusableUrl: not a Cluster URL, or it has options that are unknown.
        """
        limits = {
            "max_connections": max_connections,
            "connection_pool_class": partial(WaitingPool, wait_s=wait_s),
        }
        return cls(usable(url), **limits, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._connected(), name)

    def pubsub(self, **options: Any) -> Any:
        """Return a subscription, by a connection to one of the nodes."""
        return self._connected().pubsub(**options)

    def register_script(self, script: str) -> Callable[..., Any]:
        """Return a script as redis-py does, without a connection."""
        sha = sha1(script.encode(), usedforsecurity=False).hexdigest()

        def run(keys: Sequence[str] = (), args: Sequence[Any] = ()) -> Any:
            client = self._connected()
            try:
                return client.evalsha(sha, len(keys), *keys, *args)
            except NoScriptError:
                return client.eval(script, len(keys), *keys, *args)

        return run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        made, self._made = self._made, None
        if made is not None:
            made.close()

    def _connected(self) -> Any:
        with self._making:
            if self._made is None:
                nodes = [_NODE(*one) for one in self._address.hosts]
                with in_one_family():
                    self._made = _Cluster(
                        startup_nodes=nodes, **self._address.client_kwargs(), **self._options
                    )
            return self._made


class _Cluster(_SYNC):  # type: ignore[misc]
    def execute_command(self, *args: Any, **options: Any) -> Any:
        with in_one_family():
            return super().execute_command(*args, **options)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> Any:
        made = super().pipeline(transaction, shard_hint)
        execute = made.execute

        def in_terms(*args: Any, **options: Any) -> Any:
            with in_one_family():
                return execute(*args, **options)

        made.execute = in_terms
        return made


class AsyncClusterClient(_ASYNC):  # type: ignore[misc]
    """A client of a Cluster for asyncio."""

    def __init__(self, address: ClusterAddress, **options: Any) -> None:
        nodes = [redis.asyncio.cluster.ClusterNode(*one) for one in address.hosts]
        super().__init__(
            startup_nodes=nodes, max_connections=CONNECTIONS_MAX, **address.client_kwargs(), **options
        )
        self._scripts: dict[str, str] = {}

    @classmethod
    def pooled(cls, url: str, *, max_connections: int, wait_s: float, **options: Any) -> Self:
        """Return a client. redis-py refuses a command that finds no connection free: so their number has no bound here.

        Raises:
            UnusableUrl: not a Cluster URL, or it has options that are unknown.
        """
        del max_connections, wait_s
        return cls(usable(url), **options)

    async def initialize(self, *args: Any, **options: Any) -> Any:
        with in_one_family():
            return await super().initialize(*args, **options)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with in_one_family():
            return await super().execute_command(*args, **options)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> Any:
        del shard_hint
        return _Pipeline(self, transaction)

    def register_script(self, script: str) -> Any:
        made = super().register_script(script)
        self._scripts[made.sha] = script
        return made

    async def load(self, sha: str) -> None:
        """Load a script into each primary."""
        await self.script_load(self._scripts[sha])

    async def blpop(self, keys: Any, timeout: float | None = 0) -> Any:  # noqa: ASYNC109 - as redis-py has it
        """Wait as `BLPOP` does, in pieces: a node that takes over meanwhile is asked next."""
        left = timeout or float("inf")
        while left > 0:
            if popped := await super().blpop(keys, timeout=min(left, BLOCK_S)):
                return popped
            left -= BLOCK_S
        return None

    async def blmove(self, first_list: str, second_list: str, timeout: float, **options: Any) -> Any:  # noqa: ASYNC109 - see `blpop`
        """Wait as `BLMOVE` does, but for a shorter time: whoever waits asks again."""
        return await super().blmove(first_list, second_list, min(timeout or BLOCK_S, BLOCK_S), **options)

    async def xread(self, streams: Any, count: int | None = None, block: int | None = None) -> Any:
        """Read as `XREAD` does; a call that blocks returns empty-handed sooner."""
        return await super().xread(
            streams, count=count, block=None if block is None else min(block, int(BLOCK_S * 1000))
        )


class _Pipeline(_ASYNC_PIPELINE):  # type: ignore[misc]
    """A pipeline whose commands go to their nodes at once, with what `worker.redis.client` uses of one server's."""

    def __init__(self, client: AsyncClusterClient, transaction: Any) -> None:
        super().__init__(client, transaction)
        self.scripts: set[Any] = set()
        self.command_stack: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._client: Any = client

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.command_stack.append((args, options))
        return self

    # redis-py blocks these two in pipelines of a Cluster. The keys of the one have one slot, the other goes to every node.
    def mget(self, keys: Sequence[str]) -> Any:
        return self.execute_command("MGET", *keys)

    def publish(self, channel: str, message: str) -> Any:
        return self.execute_command("PUBLISH", channel, message)

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
        """Run the commands; scripts that a node lacks (a new one, a restart) are loaded, and run then."""
        commands, self.command_stack = self.command_stack, []
        for args, options in commands:
            super().execute_command(*args, **options)
        with in_one_family():
            replies = list(await super().execute(False, allow_redirections))
            lacking = [nth for nth, one in enumerate(replies) if isinstance(one, NoScriptError)]
            if lacking:
                for sha in {commands[nth][0][1] for nth in lacking}:
                    await self._client.load(sha)
                for nth in lacking:
                    args, options = commands[nth]
                    super().execute_command(*args, **options)
                again = await super().execute(False, allow_redirections)
                for nth, reply in zip(lacking, again, strict=True):
                    replies[nth] = reply
            for nth, reply in enumerate(replies):
                if isinstance(reply, RedisClusterException):
                    replies[nth] = RedisConnectionError(str(reply))
                if raise_on_error and isinstance(replies[nth], Exception):
                    raise replies[nth]
        return replies


@contextmanager
def in_one_family() -> Iterator[None]:
    """Turn redis-py's errors of Clusters, which are no `RedisError`, into ones that are.

    Raises:
        redis.AuthenticationError, redis.NoPermissionError: the nodes refuse.
        redis.ConnectionError: none answers, or none has the slot.
    """
    try:
        yield
    except RedisClusterException as error:
        if isinstance(error.__cause__, _REFUSALS):
            raise error.__cause__ from None
        raise RedisConnectionError(str(error)) from error
    except KeyError as error:  # of the asyncio client's table of slots, where no node has one
        raise RedisConnectionError(f"no node of the Cluster has slot {error}") from error
