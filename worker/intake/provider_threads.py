"""Threads of their own for requests that wait for a provider's answer; those of Celery are left to all others.

A provider that hangs holds each thread that asks it for a call's time-out, and `worker/intake/provider_slots.py` bounds the
calls to one. Several at once would still hold every thread that takes tasks: grants and refreshes of all others would wait.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import BoundedSemaphore
from typing import Final

from worker.log import log

#: A dozen providers that hang, at two calls each; compose.yaml allows a worker 100 threads in all.
THREADS: Final = 24


class ProviderThreads:
    """Threads for calls, of one process. They begin when they are needed."""

    def __init__(self, threads: int = THREADS) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="refreshd-intake")
        self._free = BoundedSemaphore(threads)

    def begin(self, work: Callable[[], None]) -> None:
        """Begin work in a thread of its own, in the context of the caller; where none is free, one is waited for."""
        self._free.acquire()
        self._executor.submit(copy_context().run, self._do, work)

    def close(self) -> None:
        """Wait for what is under way."""
        self._executor.shutdown()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  (nobody looks at what a thread raises; its text may hold what was sent)
            log.error("intake_failed", error=type(error).__name__)
        finally:
            self._free.release()
