"""The subscription to `refreshd:announce` of an `AsyncReader`: one task, run only while it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from refreshd_reader.redis.announcements import Hub
from refreshd_reader.redis.wire import WIRE_ERRORS
from refreshd_reader.subscription import RETRY_S, TICK_S

if TYPE_CHECKING:
    from refreshd_reader.async_reader import AsyncClient

T = TypeVar("T")


class NeverReconnect(Retry):
    """See `subscription.NeverReconnect`."""

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 0)

    async def call_with_retry(self, do: Callable[[], Awaitable[T]], *_args: Any, **_kwargs: Any) -> T:
        return await do()


class AsyncSubscription:
    """Listens for announcements in a task and hands them to the hub."""

    def __init__(self, client: AsyncClient, channel: str, hub: Hub[asyncio.Event]) -> None:
        self._client = client
        self._channel = channel
        self._hub = hub
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        # The asyncio Cluster client of older redis-py: waits then end with the next look, and no token is kept.
        self._deaf = not hasattr(client, "pubsub")

    def ensure(self) -> None:
        """Start listening, if no task does (not yet, no longer, or not in this event loop)."""
        if self._closed or self._deaf:
            return
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="refreshd-announce")

    async def close(self) -> None:
        """Stop listening, and wait until the task has ended."""
        self._closed = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def _wanted(self) -> bool:
        # redis-py may swallow a cancellation while it connects: the task still knows that it was asked to end.
        task = asyncio.current_task()
        return self._hub.wanted and not (task is not None and task.cancelling())

    async def _run(self) -> None:
        try:
            while self._wanted:
                try:
                    await self._listen()
                except WIRE_ERRORS:
                    self._hub.lost()
                    await asyncio.sleep(RETRY_S)
        finally:
            self._hub.lost()

    async def _listen(self) -> None:
        await self._client.initialize()  # an asyncio Cluster client learns its slots with its first command
        pubsub: Any = self._client.pubsub()
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
