"""A reader that asks for every account's token each second, as a connector would."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from benchmarks.chaos.losses import Losses
from refreshd_reader.contract import Keys

READ_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Missing:
    """One read that found no token, or an ended one."""

    at: float
    account: str
    ended: bool


class Reader:
    """Reads in a thread of its own, from `start` to `stop`."""

    def __init__(
        self, connect: Callable[[], Redis], keys: Keys, accounts: Sequence[str], losses: Losses
    ) -> None:
        self._connect = connect
        self._keys = keys
        self._accounts = accounts
        self._losses = losses
        self._generations: dict[str, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader")
        self.reads = 0
        #: Reads that failed because Redis itself was away.
        self.blind_s = 0
        self.excused = 0
        self.missing: list[Missing] = []
        self.went_back: list[str] = []
        #: The monotonic time of the last complete look.
        self.looked_at = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def missing_since(self, at: float) -> list[Missing]:
        return [one for one in list(self.missing) if one.at >= at]

    def _run(self) -> None:
        redis = self._connect()
        try:
            while not self._stopped.wait(READ_EVERY_S):
                try:
                    self._look(redis)
                except (RedisError, OSError):
                    self.blind_s += 1
        finally:
            redis.close()

    def _look(self, redis: Redis) -> None:
        at = time.monotonic()
        pipeline = redis.pipeline(transaction=False)
        for account in self._accounts:
            pipeline.hmget(self._keys.token(account), ["generation", "expires_at"])
        for account, (generation, expires_at) in zip(self._accounts, pipeline.execute(), strict=True):
            self.reads += 1
            if generation is None or float(expires_at) <= time.time():
                if account in self._losses.mourning:
                    self.excused += 1
                else:
                    self.missing.append(Missing(at, account, generation is not None))
            if generation is not None:
                if int(generation) < self._generations.get(account, 0):
                    self.went_back.append(f"{account}: a reader saw {generation} after a later one")
                self._generations[account] = int(generation)
        self.looked_at = at
