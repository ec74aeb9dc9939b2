"""A reader that notes every look at an account which had a token and has none."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable
from types import TracebackType
from typing import Final, Self

import redis

from refreshd_reader.contract import Keys

#: A token that is absent for as long as a plan takes is seen.
LOOK_EVERY_S: Final = 0.25


class Absence:
    """Looks from a thread of its own. A token that is there is one to use: its key ends with it.

    Args:
        redis_url: where tokens are published.
        accounts: whose.
        every_s: seconds between two looks.
    """

    def __init__(self, redis_url: str, accounts: Iterable[str], *, every_s: float = LOOK_EVERY_S) -> None:
        self._redis = redis.Redis.from_url(redis_url)
        self._keys = Keys()
        self._accounts = tuple(accounts)
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="absence")
        #: Accounts that have had a token.
        self.seen: set[str] = set()
        #: Account -> looks that found no token after the first one.
        self.absent: Counter[str] = Counter()
        #: Account -> the monotonic time of the first of them.
        self.since: dict[str, float] = {}
        self.looks = 0
        self.failure: Exception | None = None

    def have(self, accounts: Collection[str]) -> bool:
        """Return whether each of these has had a token."""
        self.check()
        return self.seen.issuperset(accounts)

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self.failure is not None:
            raise self.failure

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._redis.close()

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._every_s):
                self._look()
        except Exception as error:  # noqa: BLE001  (raised by `check`, in the thread of whoever asks)
            self.failure = error

    def _look(self) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for account in self._accounts:
            pipeline.exists(self._keys.token(account))
        for account, there in zip(self._accounts, pipeline.execute(), strict=True):
            if there:
                self.seen.add(account)
            elif account in self.seen:
                self.absent[account] += 1
                self.since.setdefault(account, time.monotonic())
        self.looks += 1
