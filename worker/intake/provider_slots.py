"""Calls to providers that hold a thread until they are answered (`worker/intake/provider_threads.py`), bounded for each origin.

A provider that hangs holds each thread that asks it for a call's time-out. So only some calls to one origin are under way at a
time; where one of them is slow, the next is not waited for, and the other threads go on with what other providers answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from time import monotonic
from typing import Final

from models.refresh_request import RefreshRequest
from worker.errors import RefreshdError
from worker.policy.lane import origin_of

#: Calls to one origin at a time, in one process: a twelfth of the threads that wait for providers.
CALLS_MAX: Final = 2
#: A token endpoint answers in half a second. Behind a call that takes longer than this nothing waits.
SLOW_S: Final = 2.0
#: When to ask again: a call that hangs has mostly ended then.
AGAIN_AFTER_S: Final = 30.0


class ProviderBusy(RefreshdError):
    """As many calls as one provider gets at a time are under way, and it is slow to answer them."""

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"{origin} is slow to answer, and {CALLS_MAX} calls to it are under way: ask again later"
        )


class ProviderSlots:
    """Slots for calls, by origin. Threads share them.

    Args:
        slow_s: behind a call that takes longer nothing waits.
    """

    def __init__(self, slow_s: float = SLOW_S) -> None:
        self._slow_s = slow_s
        self._changed = Condition()
        #: Origin -> when each call under way began, oldest first.
        self._begun: dict[str, list[float]] = {}

    @contextmanager
    def slot(self, request: RefreshRequest) -> Iterator[None]:
        """Hold a slot for one call, once there is one.

        Raises:
            ProviderBusy: the calls that hold them are slow.
        """
        origin = origin_of(request)
        began = self._enter(origin)
        try:
            yield
        finally:
            self._leave(origin, began)

    def _enter(self, origin: str) -> float:
        with self._changed:
            while len(begun := self._begun.get(origin, [])) >= CALLS_MAX:
                left_s = begun[0] + self._slow_s - monotonic()
                if left_s <= 0:
                    raise ProviderBusy(origin)
                self._changed.wait(left_s)
            began = monotonic()
            self._begun.setdefault(origin, []).append(began)
            return began

    def _leave(self, origin: str, began: float) -> None:
        with self._changed:
            begun = self._begun[origin]
            begun.remove(began)
            if not begun:
                del self._begun[origin]
            self._changed.notify_all()


#: Of this process.
provider_slots: Final = ProviderSlots()
