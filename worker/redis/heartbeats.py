"""What each running process writes of itself into one hash of Redis: a field a process, JSON with the time by Redis' clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

from redis import Redis

#: How often a process writes its heartbeat.
HEARTBEAT_EVERY_S: Final = 15.0
#: A process whose heartbeat is older has ended.
HEARTBEAT_VALID_S: Final = 60.0

Said = TypeVar("Said")


class Heartbeats(Generic[Said]):
    """The heartbeats of all running processes.

    Args:
        redis: where they are.
        key: the hash.
        read: reads what a heartbeat holds; raises ValueError, KeyError or TypeError where another release wrote it in
            another form: such a heartbeat is passed over.
    """

    def __init__(self, redis: Redis, key: str, read: Callable[[Mapping[str, Any]], Said]) -> None:
        self._redis: Any = redis
        self._key = key
        self._read = read

    def now(self) -> float:
        """Return the time by Redis' clock, Unix seconds.

        Raises:
            RedisError: Redis is away.
        """
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1_000_000)

    def write(self, process: str, values: Mapping[str, Any], *, now: float) -> None:
        """Write a process's heartbeat; remove those of processes that have ended.

        Raises:
            RedisError: Redis is away, or refuses.
        """
        ended = [name for name, (at, _) in self._all().items() if now - at > HEARTBEAT_VALID_S]
        if ended:
            self._redis.hdel(self._key, *ended)
        self._redis.hset(self._key, process, json.dumps({"at": now, **values}))

    def withdraw(self, process: str) -> None:
        """Remove the heartbeat of a process that ends.

        Raises:
            RedisError: Redis is away.
        """
        self._redis.hdel(self._key, process)

    def running(self) -> dict[str, Said]:
        """Return what each running process wrote, by process.

        Raises:
            RedisError: Redis is away, or refuses.
        """
        now = self.now()
        return {
            name: said for name, (at, said) in sorted(self._all().items()) if now - at <= HEARTBEAT_VALID_S
        }

    def _all(self) -> dict[str, tuple[float, Said]]:
        found: dict[str, tuple[float, Said]] = {}
        for name, text in self._redis.hgetall(self._key).items():
            try:
                values = json.loads(text)
                found[name] = (float(values["at"]), self._read(values))
            except (ValueError, KeyError, TypeError):
                continue
        return found
