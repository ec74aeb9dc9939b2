"""The one clock, and the one source of chance.

Claims and due times use the database's clock. A process knows how far it is from its own monotonic clock
since it last asked; a machine whose wall clock is wrong therefore still computes right times.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Final

#: A machine whose wall clock is off by more is told so at start-up (DESIGN section 2).
TOLERATED_SKEW_S: Final = 2.0


class Clock:
    """Time as the database sees it, epoch seconds (UTC)."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def set(self, database_now: float) -> None:
        """Note what the database's clock shows at this moment."""
        self._offset_s = database_now - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._offset_s

    def skew_s(self) -> float:
        """How far this machine's wall clock is ahead of the database's, seconds."""
        return time.time() - self.now()


def wall_clock() -> float:
    """Epoch seconds of this machine, for a person's screen and for what has no database at hand."""
    return time.time()


class SharedClock:
    """The time of the whole fleet, epoch seconds: what one server's clock showed, carried on by what does not jump.

    A message's end is named by its sender and read by its taker. By their own wall clocks, one that is an hour off
    drops every message, or sends none that is taken.
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def set(self, now: float) -> None:
        """Note what the shared server's clock (Redis') shows at this moment."""
        self._offset_s = now - time.monotonic()

    def begin(self, now: float) -> None:
        """Note the time of another server, until the shared one's is known."""
        if self._offset_s is None:
            self.set(now)

    def now(self) -> float:
        """Return that time; this machine's wall clock where no server was asked yet."""
        return time.time() if self._offset_s is None else time.monotonic() + self._offset_s


_SHARED: Final = SharedClock()
shared_now: Final = _SHARED.now
set_shared_now: Final = _SHARED.set
begin_shared_now: Final = _SHARED.begin

_STARTED_AT: Final = datetime.now(UTC)
_STARTED: Final = time.monotonic()


def steady_now() -> datetime:
    """Return a time that only goes on: this process' first look at the wall clock, and what has passed since.

    For intervals that have to outlive a wall clock that is set back.
    """
    return _STARTED_AT + timedelta(seconds=time.monotonic() - _STARTED)


def draw_jitter() -> float:
    """Draw a fraction in [0, 1). It is drawn once, stored with what it moves, and not drawn again."""
    return random.random()
