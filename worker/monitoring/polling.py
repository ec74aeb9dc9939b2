"""Queries that a background thread repeats. A scrape reads the latest snapshot: it waits for no store, and asks none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

from worker.log import log

T = TypeVar("T")

#: Stores are asked this often, however many scrape.
EVERY_S: Final = 10.0
#: A query that takes long is repeated less often: it uses its store for no more than a tenth of the time.
RESTS: Final = 9
#: A store that hangs, or is busy, is no outage at once: its last snapshot is served for so long.
KEPT_S: Final = 30.0


class Snapshot(Struct, Generic[T], frozen=True):
    """An answer, and how many seconds ago it was given."""

    answer: T
    age_s: float


class PolledQuery(Generic[T]):
    """A query and the latest answer to it; a failure takes the answer away.

    Args:
        name: what is asked, for the log.
        ask: returns the answer, or raises.
        clock: seconds that only go on.
    """

    def __init__(
        self, name: str, ask: Callable[[], T], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._ask = ask
        self._clock = clock
        self._latest: tuple[T, float] | None = None
        self._failing = False
        #: Duration of the last query, seconds.
        self.took_s = 0.0
        #: Pause before the next query, seconds.
        self.rest_s = EVERY_S

    def poll(self) -> bool:
        """Ask once, and return whether there was an answer."""
        began = self._clock()
        try:
            answer = self._ask()
        except (Exception, SystemExit) as error:  # noqa: BLE001  (the next query may succeed, whatever this was)
            if not self._failing:
                log.warning("does_not_answer", of=self._name, error=str(error) or repr(error))
            # A failure that took long, as by a time-out, delays nothing: the store may be back at once.
            self._failing, self._latest, self.rest_s = True, None, EVERY_S
            self.took_s = self._clock() - began
            return False
        if self._failing:
            log.info("answers_again", of=self._name)
        now = self._clock()
        self.took_s = now - began
        self.rest_s = max(EVERY_S, RESTS * self.took_s)
        self._failing, self._latest = False, (answer, now)
        return True

    def latest(self) -> Snapshot[T] | None:
        """Return the latest answer; None if the last query failed, or the answer is too old."""
        latest = self._latest
        if latest is None:
            return None
        answer, at = latest
        age_s = self._clock() - at
        return Snapshot(answer, age_s) if age_s < max(KEPT_S, 2 * self.rest_s) else None


class Poller:
    """A daemon thread that repeats queries of one store at the pace of the first; those behind a failed one are not asked."""

    def __init__(self, queries: Sequence[PolledQuery[Any]]) -> None:
        self._queries = queries
        self._stopping = threading.Event()
        #: Set once every query was asked for the first time.
        self.ready = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="refreshd-poller", daemon=True).start()

    def stop(self) -> None:
        """End the thread after the query that it runs."""
        self._stopping.set()

    def poll(self) -> None:
        """Ask each query once, until one fails."""
        for query in self._queries:
            if not query.poll():
                break
        self.ready.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.poll()
            self._stopping.wait(self._queries[0].rest_s)
