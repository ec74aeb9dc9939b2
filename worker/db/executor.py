"""Blocking calls beside the event loop: SQL runs in a few threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseExecutor:
    """Runs blocking calls in its threads. SQLite has one writer, so one thread is the fastest there."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="refreshd-sql")

    async def __call__(self, run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(run, *args, **kwargs))

    def awaitable(self, run: Callable[P, T]) -> Callable[P, Awaitable[T]]:
        """Return a function that runs `run` in a thread; it is begun when it is called, and awaited for its result."""

        @wraps(run)
        def begin(*args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
            return asyncio.get_running_loop().run_in_executor(self._executor, partial(run, *args, **kwargs))

        return begin

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._executor.shutdown(wait=True)
