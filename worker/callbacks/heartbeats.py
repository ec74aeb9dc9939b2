"""The callbacks of each running worker, as its heartbeat in Redis has them; a heartbeat is valid for a minute.

One hash, `refreshd:callbacks`: worker -> its catalog, and when it was written, by Redis' clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from redis import Redis

from worker.callbacks.catalog import CallbackCatalog

#: How often a worker writes its heartbeat.
HEARTBEAT_EVERY_S: Final = 15.0
#: A worker whose heartbeat is older has ended.
HEARTBEAT_VALID_S: Final = 60.0


class CallbackHeartbeats:
    """The heartbeats of all running workers."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis: Any = redis
        self._key = f"{prefix}callbacks"

    def announce(self, worker: str, offer: CallbackCatalog) -> None:
        """Write a worker's heartbeat; remove those of workers that have ended.

        Raises:
            RedisError: Redis is away.
        """
        now = self._now()
        gone = [name for name, said in self._all().items() if now - said["at"] > HEARTBEAT_VALID_S]
        if gone:
            self._redis.hdel(self._key, *gone)
        self._redis.hset(self._key, worker, json.dumps({"at": now, **offer.to_json()}))

    def withdraw(self, worker: str) -> None:
        """Remove the heartbeat of a worker that ends.

        Raises:
            RedisError: Redis is away.
        """
        self._redis.hdel(self._key, worker)

    def offers(self) -> dict[str, CallbackCatalog]:
        """Return the catalog of each running worker, by worker.

        Raises:
            RedisError: Redis is away.
        """
        now = self._now()
        return {
            name: CallbackCatalog.from_json(said)
            for name, said in sorted(self._all().items())
            if now - said["at"] <= HEARTBEAT_VALID_S
        }

    def _all(self) -> dict[str, Mapping[str, Any]]:
        found: Mapping[str, str] = self._redis.hgetall(self._key)
        return {name: said for name, text in found.items() if (said := _read(text)) is not None}

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1_000_000)


def _read(text: str) -> Mapping[str, Any] | None:
    """Read a heartbeat; None where another release wrote it in another form."""
    try:
        said = json.loads(text)
        CallbackCatalog.from_json(said)
        return {**said, "at": float(said["at"])}
    except (ValueError, KeyError, TypeError):
        return None
