"""Keeps processes running: starts them, restarts those that end, and stops all of them in order.

One thread, no callbacks: the owner of a `Supervisor` calls `look()` a few times a second, and `stop()` once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from signal import Signals
from typing import Final

from msgspec import Struct

from worker.errors import RefreshdError
from worker.local.process import Child

#: The pause before a process is started again: doubled with each end, so that a broken one costs little.
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
#: A process that ran this long was all right: the next pause is the first one again.
SETTLED_S: Final = 30.0
#: What is left after a second Ctrl-C gets this long.
HURRIED_GRACE_S: Final = 1.0
_LOOK_S: Final = 0.02


class Service(Struct, frozen=True):
    """Something to keep running.

    `start` gives a running process, or raises an OSError or a RefreshdError. Services of the lowest phase are
    stopped first, those of one phase together; each gets `grace_s` to end by itself.
    """

    name: str
    start: Callable[[], Child]
    phase: int
    grace_s: float


class Restarted(Struct, frozen=True):
    """A process runs again."""

    name: str
    pid: int


class ProcessEnded(Struct, frozen=True):
    """A process ended, or could not be started; it is started again after a pause.

    `exit_code` is None where it could not be started, and negative where a signal ended it.
    """

    name: str
    cause: str
    exit_code: int | None
    pause_s: float


class Killed(Struct, frozen=True):
    """A process did not end in its time, and was killed."""

    name: str
    after_s: float


Change = Restarted | ProcessEnded | Killed


class _Kept:
    """A service, and the process that does it now. Times are of the monotonic clock."""

    def __init__(self, service: Service, child: Child) -> None:
        self.service = service
        self.child: Child | None = child
        self.started_at = time.monotonic()
        self.start_at = 0.0
        self._ends = 0

    def runs(self, child: Child) -> None:
        self.child = child
        self.started_at = time.monotonic()

    def ended(self) -> float:
        """Note an end; returns the pause before the next start."""
        now = time.monotonic()
        if self.child is not None and now - self.started_at > SETTLED_S:
            self._ends = 0
        self.child = None
        pause_s = float(min(FIRST_PAUSE_S * 2**self._ends, LONGEST_PAUSE_S))
        self._ends += 1
        self.start_at = now + pause_s
        return pause_s


class Supervisor:
    """Keeps services running until `stop`."""

    def __init__(self) -> None:
        self._kept: list[_Kept] = []
        self._hurried = False

    def add(self, service: Service) -> None:
        """Start a service, and keep it running from now on.

        Raises:
            OSError, RefreshdError: its first start failed.
        """
        self._kept.append(_Kept(service, service.start()))

    def look(self) -> list[Change]:
        """Return what changed: note processes that ended, and restart those whose pause is over."""
        return [change for kept in self._kept if (change := self._look_at(kept)) is not None]

    def running(self) -> dict[str, int]:
        """Return the pid of each process that runs."""
        return {
            kept.service.name: kept.child.pid
            for kept in self._kept
            if kept.child is not None and kept.child.ended() is None
        }

    def hurry(self) -> None:
        """Have `stop` wait no longer than it must. A signal handler may call it while `stop` runs."""
        self._hurried = True

    def stop(self) -> Iterator[Killed]:
        """Stop everything, phase by phase; returns each process that had to be killed. It may be called twice."""
        for phase in sorted({kept.service.phase for kept in self._kept}):
            yield from self._stop_phase([kept for kept in self._kept if kept.service.phase == phase])
        self._kept.clear()

    def _look_at(self, kept: _Kept) -> Change | None:
        name = kept.service.name
        if kept.child is not None:
            code = kept.child.ended()
            if code is None:
                return None
            return ProcessEnded(name, _cause(code), code, kept.ended())
        if time.monotonic() < kept.start_at:
            return None
        try:
            child = kept.service.start()
        except (OSError, RefreshdError) as error:
            return ProcessEnded(name, str(error), None, kept.ended())
        kept.runs(child)
        return Restarted(name, child.pid)

    def _stop_phase(self, phase: list[_Kept]) -> Iterator[Killed]:
        left = [(kept, kept.child) for kept in phase if kept.child is not None]
        for _, child in left:
            child.terminate()
        began = time.monotonic()
        while left:
            for kept, child in list(left):
                waited_s = time.monotonic() - began
                if child.ended() is None and waited_s < self._grace_s(kept.service):
                    continue
                if child.ended() is None:
                    child.kill()
                    yield Killed(kept.service.name, waited_s)
                kept.child = None
                left.remove((kept, child))
            time.sleep(_LOOK_S)

    def _grace_s(self, service: Service) -> float:
        return min(service.grace_s, HURRIED_GRACE_S) if self._hurried else service.grace_s


def _cause(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {Signals(-code).name}"
