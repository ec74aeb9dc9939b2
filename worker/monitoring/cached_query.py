"""Asks something that may be slow or away, without letting those who want to know wait for ever, or ask too often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from worker.log import log

T = TypeVar("T")

#: A look that takes long is taken less often: it costs what is looked at no more than a tenth of its time.
RESTS: Final = 9


class CachedQuery(Generic[T]):
    """The latest answer to one question. Whoever asks while it is fresh costs nothing; others wait for one look.

    Args:
        name: of what is asked, for the log.
        ask: gives the answer, or raises.
        fresh_s: an answer is not asked for again within this time, nor within `RESTS` times what asking took.
        kept_s: an older answer is still given for so long, while a newer one is looked for; a failure ends that.
        patience_s: how long those wait who would get none.
        patience_with_older_s: how long those wait for a newer answer who would get an older one.
        clock: seconds that only go on.
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[], T],
        *,
        fresh_s: float,
        kept_s: float,
        patience_s: float,
        patience_with_older_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._ask = ask
        self._fresh_s = fresh_s
        self._kept_s = kept_s
        self._patience_s = patience_s
        self._patience_with_older_s = patience_with_older_s
        self._clock = clock
        self._changed = threading.Condition()
        self._asking = False
        self._answer: T | None = None
        self._at: float | None = None
        self._failing: bool = False
        #: How long the last look took, seconds.
        self.took_s = 0.0
        #: How long the last look took that had an answer: one that ended by a time-out says nothing of the next.
        self._rests_after_s = 0.0

    def answer(self) -> T | None:
        """Return the latest answer, None where there is none: it can't be had, or not soon enough."""
        with self._changed:
            fresh_s = max(self._fresh_s, RESTS * self._rests_after_s)
            kept_s = max(self._kept_s, 2 * fresh_s)
            if not self._younger_than(fresh_s):
                if not self._asking:
                    self._asking = True
                    threading.Thread(target=self._look, name=f"look at {self._name}", daemon=True).start()
                older = self._answer is not None and self._younger_than(kept_s)
                patience_s = self._patience_with_older_s if older else self._patience_s
                self._changed.wait_for(lambda: not self._asking, patience_s)
            return self._answer if self._younger_than(kept_s) else None

    def _younger_than(self, age_s: float) -> bool:
        return self._at is not None and self._clock() - self._at < age_s

    def _look(self) -> None:
        began = self._clock()
        answer: T | None = None
        try:
            answer = self._ask()
            if self._failing:
                log.info("answers_again", of=self._name)
            self._failing = False
        except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever it is, the next look may succeed)
            if not self._failing:
                log.warning("does_not_answer", of=self._name, error=str(error) or repr(error))
            self._failing = True
        with self._changed:
            self._answer, self._at, self._asking = answer, self._clock(), False
            self.took_s = self._at - began
            if answer is not None:
                self._rests_after_s = self.took_s
            self._changed.notify_all()
