"""The subscription of an `AsyncReader` to `refreshd:announce`: one background loop, run only while it is needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import redis.asyncio
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from refreshd_reader.concurrency import AsyncBackground, AsyncSignal
from refreshd_reader.redis.announcements import RETRY_S, TICK_S, Hub
from refreshd_reader.redis.wire import WIRE_ERRORS

AsyncClient: TypeAlias = redis.asyncio.Redis | RedisCluster

T = TypeVar("T")


class NeverReconnect(Retry):
    """Never retries: a redis-py connection that reconnects by itself would hide that announcements were missed."""

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 0)

    async def call_with_retry(self, do: Callable[[], Awaitable[T]], *_args: Any, **_kwargs: Any) -> T:
        return await do()


class AsyncSubscription:
    """Listens for announcements in the background and passes them to the hub."""

    def __init__(self, client: AsyncClient, channel: str, hub: Hub[AsyncSignal]) -> None:
        self._client: Any = client  # redis-py's `pubsub` has no types
        self._channel = channel
        self._hub = hub
        self._background = AsyncBackground(self._run)
        # The asyncio Cluster client of older redis-py: waits then end with the next look, and no token is kept.
        self._deaf = not hasattr(client, "pubsub")

    def ensure(self) -> None:
        """Start listening, unless the background loop runs."""
        if not self._deaf:
            self._background.ensure()

    async def close(self) -> None:
        """Stop listening and wait until the background loop has ended."""
        await self._background.close()

    @property
    def _wanted(self) -> bool:
        return self._hub.wanted and not self._background.stopping

    async def _run(self) -> None:
        try:
            while self._wanted:
                try:
                    await self._listen()
                except WIRE_ERRORS:
                    self._hub.lost()
                    await self._background.pause(RETRY_S)
        finally:
            self._hub.lost()

    async def _listen(self) -> None:
        if hasattr(
            self._client, "initialize"
        ):  # an asyncio Cluster client learns its slots with its first command
            await self._client.initialize()
        pubsub = self._client.pubsub()
        try:
            await pubsub.subscribe(self._channel)
            retry, pubsub.connection.retry = pubsub.connection.retry, NeverReconnect()
            try:
                await self._hear(pubsub)
            finally:
                pubsub.connection.retry = retry  # the connection goes back to its pool
        finally:
            await pubsub.aclose()

    async def _hear(self, pubsub: Any) -> None:
        self._hub.opened()
        while self._wanted:
            response = await pubsub.parse_response(block=False, timeout=TICK_S)
            if response is not None:
                self._hub.hear(response)
            if self._hub.heartbeat():
                await pubsub.ping()
