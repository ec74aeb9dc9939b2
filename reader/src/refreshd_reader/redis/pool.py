"""Bounded pools of connections: a command that finds none free waits for one.

redis-py's own `BlockingConnectionPool` takes locks for each command: the asyncio one made a read slower by a sixth.
Here only commands that have to wait pay.
"""

from __future__ import annotations

import asyncio
import threading
from time import monotonic
from typing import Any, Final

import redis
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError

#: redis-py's message of a full pool; its asyncio pool had no exception of its own for it before 7.0.
_FULL: Final = "Too many connections"


class WaitingPool(redis.ConnectionPool):
    """Like `redis.ConnectionPool`, but `get_connection` waits for up to `wait_s` for a free one."""

    def __init__(self, *, wait_s: float, **options: Any) -> None:
        super().__init__(**options)
        self._wait_s = wait_s
        self._turns = threading.Semaphore(0)
        self._waiting = 0
        self._waiting_lock = threading.Lock()

    def get_connection(self, *args: Any, **options: Any) -> Any:
        try:
            return super().get_connection(*args, **options)
        except RedisConnectionError as error:
            if str(error) != _FULL:
                raise
        return self._in_turn(*args, **options)

    def release(self, connection: Any) -> None:
        super().release(connection)
        if self._waiting:
            self._turns.release()

    def _in_turn(self, *args: Any, **options: Any) -> Any:
        ends_at = monotonic() + self._wait_s
        self._count(1)
        try:
            while True:
                try:
                    return super().get_connection(*args, **options)
                except RedisConnectionError as error:
                    if str(error) != _FULL:
                        raise
                if not self._turns.acquire(timeout=max(ends_at - monotonic(), 0)):
                    raise _none_free(self._wait_s)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._waiting_lock:
            self._waiting += change


class AsyncWaitingPool(redis.asyncio.ConnectionPool):
    """`WaitingPool` for asyncio."""

    def __init__(self, *, wait_s: float, **options: Any) -> None:
        super().__init__(**options)
        self._wait_s = wait_s
        self._turns = asyncio.Semaphore(0)
        self._waiting = 0

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]
        except RedisConnectionError as error:
            if str(error) != _FULL:
                raise
        return await self._in_turn(*args, **options)

    async def release(self, connection: Any) -> None:
        await super().release(connection)
        if self._waiting:
            self._turns.release()

    async def _in_turn(self, *args: Any, **options: Any) -> Any:
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                while True:
                    try:
                        return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]
                    except RedisConnectionError as error:
                        if str(error) != _FULL:
                            raise
                    await self._turns.acquire()
        except TimeoutError:
            raise _none_free(self._wait_s) from None
        finally:
            self._waiting -= 1


def _none_free(wait_s: float) -> RedisConnectionError:
    return RedisConnectionError(f"no connection was free within {wait_s:g} s")
