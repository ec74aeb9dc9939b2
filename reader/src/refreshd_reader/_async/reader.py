"""The reader: returns tokens, waits for newer ones, reports rejected ones."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Any, Self

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from refreshd_reader._async.subscription import AsyncClient, AsyncSubscription
from refreshd_reader._async.token_source import AsyncTokenSource
from refreshd_reader.cache import TokenCache
from refreshd_reader.concurrency import AsyncSignal
from refreshd_reader.contract import DEFAULT_PREFIX, REJECTED_MAXLEN, Keys, Rejection, Token
from refreshd_reader.errors import (
    NoUsableToken,
    ReaderError,
    RedisRefused,
    RedisUnreachable,
    TokenTooShort,
)
from refreshd_reader.redis.announcements import Hub
from refreshd_reader.redis.cluster import AsyncClusterClient, is_cluster
from refreshd_reader.redis.pool import AsyncWaitingPool
from refreshd_reader.redis.url import pool_of
from refreshd_reader.redis.wire import (
    LOOK_AGAIN_S,
    WIRE_ERRORS,
    ask,
    bare_token,
    gather,
    in_reader_terms,
    waited_in_vain,
)
from refreshd_reader.sealing import TokenSeal
from refreshd_reader.state import Look


class AsyncReader:
    """Reads the tokens that refreshd keeps fresh in Redis. One event loop, any number of tasks.

    Args:
        client: a redis-py client, of a single server, a Sentinel's primary or a Cluster. It stays yours to close.
        prefix: the value of `REFRESHD_REDIS_PREFIX` on the workers.
        cache_size: how many tokens to keep in this process; 0: every read is a round trip to Redis. A cached token
            is served in about a microsecond, never beyond its end, and dropped when a newer one is announced.
            While the subscription to announcements is down, every read goes to Redis.
        keys: keys of sealed tokens (docs/redis.md), `ID:BASE64`, comma separated. Needs the extra `sealed`.
    """

    def __init__(
        self,
        client: AsyncClient,
        *,
        prefix: str = DEFAULT_PREFIX,
        cache_size: int = 0,
        keys: str | None = None,
    ) -> None:
        self._client = client
        self._keys = Keys(prefix)
        self._cache = TokenCache(cache_size) if cache_size > 0 else None
        self._hub: Hub[AsyncSignal] = Hub(self._cache)
        self._subscription = AsyncSubscription(client, self._keys.announce, self._hub)
        self._seal = TokenSeal.of(keys) if keys else None
        self._owns_client = False

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        cache_size: int = 0,
        keys: str | None = None,
        timeout_s: float = 2.0,
        max_connections: int = 50,
    ) -> Self:
        """Return a reader with a client of its own.

        Args:
            url: `redis://`, `rediss://` (TLS), `unix://`, `sentinel://USER:PASSWORD@HOST:26379,HOST:26379/MASTER/0`
                (`sentinels://`: TLS), or `cluster://USER:PASSWORD@HOST:6379,HOST:6379` (`clusters://`: TLS), with the
                connector's user and password.
            prefix: see the class.
            cache_size: see the class.
            keys: see the class.
            timeout_s: for connecting, for an answer, and for a free connection. Connecting and commands are tried three times.
            max_connections: a command that needs one more waits for up to `timeout_s`. Of a Cluster: to each node, and
                `AsyncReader` makes as many as it has commands under way.

        Raises:
            UnusableUrl: not a Redis URL, or it has options that redis-py does not know.
        """
        options: dict[str, Any] = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(ExponentialWithJitterBackoff(base=0.01, cap=0.2), retries=2),
        }
        client: Any
        if is_cluster(url):
            client = AsyncClusterClient.pooled(
                url, max_connections=max_connections, wait_s=timeout_s, **options
            )
        else:
            pool = pool_of(
                AsyncWaitingPool, url, max_connections=max_connections, wait_s=timeout_s, **options
            )
            client = redis.asyncio.Redis.from_pool(pool)
        reader = cls(client, prefix=prefix, cache_size=cache_size, keys=keys)
        reader._owns_client = True
        return reader

    async def get(self, account: str, min_lifetime_s: float = 0.0) -> Token:
        """Return the account's token.

        Args:
            account: its id, case-sensitive.
            min_lifetime_s: how long the token must still last, by Redis' clock.

        Raises:
            NoUsableToken: there is none; the subclass is the reason.
            RedisUnreachable: Redis does not answer.
        """
        if self._cache is not None:
            held = self._cache.get(account, min_lifetime_s)
            if held is not None:
                return held
        elif not min_lifetime_s:
            token = await self._bare(account)
            if token is not None:
                return token
        found = (await self._look(account)).usable(min_lifetime_s)
        # A newer token may have been published between the commands of the look.
        if isinstance(found, TokenTooShort):
            found = (await self._look(account)).usable(min_lifetime_s)
        if isinstance(found, NoUsableToken):
            raise found
        return found

    async def get_many(
        self, accounts: Iterable[str], min_lifetime_s: float = 0.0
    ) -> dict[str, Token | NoUsableToken]:
        """Return each account's token, or the error that `get` would raise, in one round trip.

        Raises:
            RedisUnreachable: Redis does not answer.
        """
        given: dict[str, Token | NoUsableToken] = {}
        asked = []
        for account in dict.fromkeys(accounts):
            held = self._cache.get(account, min_lifetime_s) if self._cache is not None else None
            if held is None:
                asked.append(account)
            else:
                given[account] = held
        if asked:
            for account, seen in (await self._looks(asked)).items():
                given[account] = seen.usable(min_lifetime_s) if isinstance(seen, Look) else seen
        return given

    async def wait_for(self, account: str, *, newer_than: int, timeout_s: float = 10.0) -> Token:
        """Return a token of a later generation as soon as it is published.

        Raises:
            WaitTimedOut: none came within `timeout_s`.
            Reauthorize, Misconfigured, Disabled, Paused: none will come soon; raised at once.
            RedisUnreachable: Redis did not answer at the end of the wait.
        """
        ends_at = monotonic() + timeout_s
        with self._hub.waiting(account, AsyncSignal()) as changed:
            while True:
                self._subscription.ensure()
                changed.clear()
                seen: Look | None = None
                away: RedisUnreachable | None = None
                try:
                    seen = await self._look(account)
                except RedisRefused:
                    raise
                except RedisUnreachable as error:
                    away = error
                found = seen.newer(newer_than) if seen else None
                if isinstance(found, Token):
                    self._forget(account)
                    return found
                left_s = ends_at - monotonic()
                if found or left_s <= 0:
                    raise found or away or waited_in_vain(account, newer_than, timeout_s, seen)
                await changed.wait_for(min(left_s, LOOK_AGAIN_S))

    async def report_rejected(self, account: str, generation: int, http_status: int) -> None:
        """Report to the workers that an API refused this generation of the account's token.

        They refresh at once, and only once however many connectors report it. A report of an older generation
        changes nothing.

        Raises:
            RedisUnreachable: Redis does not answer.
        """
        self._forget(account)
        entry: dict[Any, Any] = dict(Rejection(account, generation, http_status).to_entry())
        try:
            await self._client.xadd(self._keys.rejected, entry, maxlen=REJECTED_MAXLEN, approximate=True)
        except WIRE_ERRORS as error:
            raise in_reader_terms(None, error) from error

    async def replacement(
        self, account: str, generation: int, http_status: int, timeout_s: float = 10.0
    ) -> Token | None:
        """Report a token that an API refused and return a newer one, or None if none comes in time.

        Never raises a `ReaderError`: the caller has the API's response, and that is the better answer then.
        """
        try:
            self._subscription.ensure()
            newer = (await self._look(account)).newer(generation)
            if isinstance(newer, Token):  # another connector reported it before
                self._forget(account)
                return newer
            await self.report_rejected(account, generation, http_status)
            return await self.wait_for(account, newer_than=generation, timeout_s=timeout_s)
        except ReaderError:
            return None

    def token_source(self, account: str, min_lifetime_s: float = 0.0) -> AsyncTokenSource:
        """Return a callable that returns the access token as text, for SDKs that take one."""
        return AsyncTokenSource(self, account, min_lifetime_s)

    async def close(self) -> None:
        """Close the subscription, and the client if `from_url` made it."""
        await self._subscription.close()
        if self._owns_client:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _bare(self, account: str) -> Token | None:
        # Not `hgetall`: its bookkeeping for redis-py's own cache costs a twentieth of a read.
        client: Any = self._client
        try:
            return bare_token(
                account, await client.execute_command("HGETALL", self._keys.token(account)), self._seal
            )
        except WIRE_ERRORS as error:
            raise in_reader_terms(account, error) from error

    async def _look(self, account: str) -> Look:
        seen = (await self._looks([account]))[account]
        if isinstance(seen, NoUsableToken):
            raise seen
        return seen

    async def _looks(self, accounts: list[str]) -> dict[str, Look | NoUsableToken]:
        if self._cache is None:
            return await self._looks_at_redis(accounts)
        self._subscription.ensure()
        reads = {account: self._cache.begin(account) for account in accounts}
        sent_at = monotonic()
        looks: dict[str, Look | NoUsableToken] = {}
        try:
            looks = await self._looks_at_redis(accounts)
        finally:
            for account, read in reads.items():
                self._cache.keep(account, read, looks.get(account), sent_at)
        return looks

    async def _looks_at_redis(self, accounts: list[str]) -> dict[str, Look | NoUsableToken]:
        pipeline: Any = self._client.pipeline(transaction=False)
        for account in accounts:
            ask(pipeline, self._keys, account)
        try:
            return gather(accounts, await pipeline.execute(raise_on_error=False), self._seal)
        except WIRE_ERRORS as error:
            raise in_reader_terms(None, error) from error

    def _forget(self, account: str) -> None:
        if self._cache is not None:
            self._cache.drop(account)
