"""Workers and beats measure how far their clocks are off, write it to Redis, and log it if it is too much."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any, Final

from celery import bootsteps
from redis.exceptions import RedisError

from worker.clock import TOLERATED_SKEW_S
from worker.log import log
from worker.redis.client import connect
from worker.redis.clock_offsets import ClockOffsets
from worker.redis.heartbeats import HEARTBEAT_EVERY_S
from worker.settings import load_settings

#: A stop waits so long for a measurement under way.
_STOP_S: Final = 1.0


class ClockWatch:
    """A thread that measures how far its process' clock is off, as long as it runs."""

    def __init__(self, process: str, offsets: ClockOffsets) -> None:
        self._process = process
        self._offsets = offsets
        self._is_off = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="refreshd-clock", daemon=True)

    def start(self) -> None:
        """Measure once, so that the first message has the right end already, and then in the thread."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and withdraw the process' offset."""
        self._stopping.set()
        self._thread.join(_STOP_S)
        with suppress(RedisError, OSError):
            self._offsets.withdraw(self._process)

    def look(self) -> None:
        """Measure once. A clock that is off is logged when it becomes so, not each time."""
        try:
            ahead_s = self._offsets.note(self._process)
        except (RedisError, OSError):
            return  # others report what is wrong with Redis
        is_off = abs(ahead_s) > TOLERATED_SKEW_S
        if is_off and not self._is_off:
            log.warning(
                "clock_skew",
                of=self._process,
                seconds=round(ahead_s, 1),
                remedy="synchronize this machine's clock (NTP)",
            )
        self._is_off = is_off

    def _go_on(self) -> None:
        while not self._stopping.wait(HEARTBEAT_EVERY_S):
            self.look()


def watch_clock(process: str) -> ClockWatch:
    """Start to measure this process' clock, and return the thread to stop."""
    settings = load_settings()
    watch = ClockWatch(process, ClockOffsets(connect(settings.broker), settings.redis_prefix))
    watch.start()
    return watch


class Clocks(bootsteps.StartStopStep):
    """Measures how far a worker's clock is off."""

    requires = ("celery.worker.components:Pool",)  # whose processes are forked before a thread begins

    def __init__(self, _parent: Any, **_: Any) -> None:
        self._watch: ClockWatch | None = None

    def start(self, parent: Any) -> None:
        self._watch = watch_clock(parent.hostname)

    def stop(self, _parent: Any) -> None:
        if self._watch is not None:
            self._watch.stop()
