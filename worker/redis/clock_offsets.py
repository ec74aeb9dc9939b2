"""How far each running process' wall clock is from Redis' clock: each writes its own offset, which counts for a minute.

Messages end by Redis' clock (`worker.clock.shared_now`), so that a wall clock that is off delays nothing; it still
misleads readers on that machine, logs and certificates. One hash, `refreshd:clocks`: process -> seconds that it is ahead, and when it said so, by Redis' clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from redis import Redis

from worker.clock import set_shared_now, wall_clock

#: How often a process looks at its clock and says what it found.
LOOKED_EVERY_S: Final = 15.0
#: A process that has said nothing for so long is gone.
BELIEVED_S: Final = 60.0


class ClockOffsets:
    """What all running processes said of their clocks.

    Args:
        redis: where to.
        prefix: of refreshd's keys.
    """

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis: Any = redis
        self._key = f"{prefix}clocks"

    def note(self, process: str) -> float:
        """Compare this machine's clock with Redis', and write down how far it is ahead, seconds; returns that.

        Raises:
            RedisError: Redis is away, or refuses.
        """
        before = wall_clock()
        now = self._now()
        set_shared_now(now)
        ahead_s = (before + wall_clock()) / 2 - now
        gone = [name for name, said in self._said().items() if now - said["at"] > BELIEVED_S]
        if gone:
            self._redis.hdel(self._key, *gone)
        self._redis.hset(self._key, process, json.dumps({"at": now, "ahead_s": round(ahead_s, 3)}))
        return ahead_s

    def withdraw(self, process: str) -> None:
        """Forget a process that ends.

        Raises:
            RedisError: Redis is away.
        """
        self._redis.hdel(self._key, process)

    def all(self) -> dict[str, float]:
        """Return by how many seconds each running process is ahead of Redis.

        Raises:
            RedisError: Redis is away, or refuses.
        """
        now = self._now()
        return {
            name: float(said["ahead_s"])
            for name, said in sorted(self._said().items())
            if now - said["at"] <= BELIEVED_S
        }

    def _said(self) -> dict[str, Mapping[str, Any]]:
        found: Mapping[str, str] = self._redis.hgetall(self._key)
        return {name: said for name, text in found.items() if (said := _read(text)) is not None}

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1_000_000)


def _read(text: str) -> Mapping[str, Any] | None:
    """Read what a process said; another release may say it in another form."""
    try:
        said = json.loads(text)
        return {"at": float(said["at"]), "ahead_s": float(said["ahead_s"])}
    except (ValueError, KeyError, TypeError):
        return None
