"""Which running worker knows which callbacks: told to Redis by each of them, and believed for a minute.

One hash, `refreshd:callbacks`: worker -> what it offers and when it said so, by Redis' clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from redis import Redis

from worker.callbacks.catalog import CallbackCatalog

#: How often a worker says what it knows.
SAID_EVERY_S: Final = 15.0
#: A worker that has said nothing for so long is gone.
BELIEVED_S: Final = 60.0


class CallbackHeartbeats:
    """What all running workers offer."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis: Any = redis
        self._key = f"{prefix}callbacks"

    def announce(self, worker: str, offer: CallbackCatalog) -> None:
        """Return what a worker offers; forget workers that have long been gone.

        Raises:
            RedisError: Redis is away.
        """
        now = self._now()
        gone = [name for name, said in self._all().items() if now - said["at"] > BELIEVED_S]
        if gone:
            self._redis.hdel(self._key, *gone)
        self._redis.hset(self._key, worker, json.dumps({"at": now, **offer.to_json()}))

    def withdraw(self, worker: str) -> None:
        """Forget a worker that ends.

        Raises:
            RedisError: Redis is away.
        """
        self._redis.hdel(self._key, worker)

    def offers(self) -> dict[str, CallbackCatalog]:
        """Return what each running worker offers, by worker.

        Raises:
            RedisError: Redis is away.
        """
        now = self._now()
        return {
            name: CallbackCatalog.from_json(said)
            for name, said in sorted(self._all().items())
            if now - said["at"] <= BELIEVED_S
        }

    def _all(self) -> dict[str, Mapping[str, Any]]:
        found: Mapping[str, str] = self._redis.hgetall(self._key)
        return {name: said for name, text in found.items() if (said := _read(text)) is not None}

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1_000_000)


def _read(text: str) -> Mapping[str, Any] | None:
    """Read what a worker said; another release may say it in another form."""
    try:
        said = json.loads(text)
        CallbackCatalog.from_json(said)
        return {**said, "at": float(said["at"])}
    except (ValueError, KeyError, TypeError):
        return None
