"""The deadlines of calls under way: one timer of the event loop for all of them.

A timer of its own for each call cost 30 us, a fifteenth of a refresh: nearly all are cancelled long before they end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

#: An event loop's clock and its timers count milliseconds: a timer may fire that much before its time.
_TICK_S: Final = 0.001


class Deadlines:
    """Calls a function when its time has come, unless it was removed before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ends: dict[Callable[[], None], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = float("inf")

    @classmethod
    def of_loop(cls) -> Deadlines:
        """Return the deadlines of the running event loop."""
        loop = asyncio.get_running_loop()
        found = _of_loops.get(loop)
        if found is None:
            found = _of_loops[loop] = cls(loop)
        return found

    def add(self, over: Callable[[], None], at: float) -> None:
        """Have `over` called when the event loop's time is `at`."""
        self._ends[over] = at
        if at < self._fires_at:
            self._arm(at)

    def remove(self, over: Callable[[], None]) -> None:
        """Forget a function; one that was called already is forgotten."""
        self._ends.pop(over, None)

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._fires_at = self._loop.call_at(at, self._fire), at

    def _fire(self) -> None:
        self._timer, self._fires_at = None, float("inf")
        until = self._loop.time() + _TICK_S
        for over in [over for over, at in self._ends.items() if at <= until]:
            del self._ends[over]
            over()
        if self._ends:
            self._arm(min(self._ends.values()))


_of_loops: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Deadlines]] = WeakKeyDictionary()
