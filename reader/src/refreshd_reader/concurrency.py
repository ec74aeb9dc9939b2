"""What asyncio and threads do differently: a wait with an end, and a loop in the background.

Each pair has one interface, so that `_sync` can be generated from `_async`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

#: Of the task or thread, as a debugger lists it.
_NAME: Final = "refreshd-announce"


class AsyncSignal(asyncio.Event):
    """An event that is waited for until it is set or the time is up."""

    async def wait_for(self, timeout_s: float) -> None:
        """Return when the event is set, at the latest after `timeout_s`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), timeout_s)


class Signal(threading.Event):
    """`AsyncSignal` for threads."""

    def wait_for(self, timeout_s: float) -> None:
        """Return when the event is set, at the latest after `timeout_s`."""
        self.wait(timeout_s)


class AsyncBackground:
    """Runs a function in a task, from `ensure` until it returns or `close` stops it."""

    def __init__(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._run = run
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def ensure(self) -> None:
        """Start the task, unless it runs (it may have returned, or belong to an event loop that has ended)."""
        if not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run(), name=_NAME)

    @property
    def stopping(self) -> bool:
        """Whether the function, which asks, should return."""
        # redis-py may swallow a cancellation while it connects: the task still knows that it was cancelled.
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    async def pause(self, seconds: float) -> None:
        """Wait, at most until `close`."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Stop the task and wait until it has ended."""
        self._closed = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])


class Background:
    """`AsyncBackground` for threads: a daemon thread."""

    def __init__(self, run: Callable[[], None]) -> None:
        self._run = run
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()
        self._closed = threading.Event()

    def ensure(self) -> None:
        """Start the thread, unless it runs (it may have returned, or belong to the parent of this process)."""
        if self._alive:
            return
        with self._start:
            if not self._closed.is_set() and not self._alive:
                self._thread = threading.Thread(target=self._run, name=_NAME, daemon=True)
                self._thread.start()

    @property
    def stopping(self) -> bool:
        """Whether the function, which asks, should return."""
        return self._closed.is_set()

    def pause(self, seconds: float) -> None:
        """Wait, at most until `close`."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """Stop the thread and wait until it has ended."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def _alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()
