"""Ctrl-C, SIGTERM and a closed terminal, as a question to ask: has anybody asked us to end?"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Final, Self

#: A shell's exit code of a command that Ctrl-C ended (128 + SIGINT).
INTERRUPTED: Final = 130

_ASK_AGAIN_S: Final = 0.05


class Interrupts:
    """While it is entered, signals end nothing by themselves: the first one asks for the end, a second one hurries it."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self.hurry: Callable[[], None] | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signum is signal.SIGHUP and signal.getsignal(signum) is signal.SIG_IGN:
                continue  # started by nohup: it shall outlive its terminal
            self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for signum, before in self._before.items():
            signal.signal(signum, before)  # type: ignore[arg-type]

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C; 0 after SIGTERM or a closed terminal: we did what we were asked."""
        return INTERRUPTED if self.asked is signal.SIGINT else 0

    def wait(self, seconds: float) -> bool:
        """Sleep, but not longer than until we are asked to end; tells whether we are."""
        until = time.monotonic() + seconds
        while self.asked is None and (left_s := until - time.monotonic()) > 0:
            time.sleep(min(left_s, _ASK_AGAIN_S))
        return self.asked is not None

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked = signal.Signals(signum)
        elif self.hurry is not None:
            self.hurry()
