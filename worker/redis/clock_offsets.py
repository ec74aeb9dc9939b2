"""How far each running process' wall clock is from Redis' clock, as its heartbeat in Redis (`refreshd:clocks`) has it.

Messages end by Redis' clock (`worker.clock.shared_now`), so that a wall clock that is off delays nothing; it still
misleads readers on that machine, logs and certificates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis import Redis

from worker.clock import set_shared_now, wall_clock
from worker.redis.heartbeats import Heartbeats


class ClockOffsets:
    """The offsets of all running processes.

    Args:
        redis: where they are.
        prefix: of refreshd's keys.
    """

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._heartbeats = Heartbeats(redis, f"{prefix}clocks", _ahead_s)

    def note(self, process: str) -> float:
        """Compare this machine's clock with Redis' and write the difference; return it: seconds that the machine is ahead.

        Raises:
            RedisError: Redis is away, or refuses.
        """
        before = wall_clock()
        now = self._heartbeats.now()
        set_shared_now(now)
        ahead_s = (before + wall_clock()) / 2 - now
        self._heartbeats.write(process, {"ahead_s": round(ahead_s, 3)}, now=now)
        return ahead_s

    def withdraw(self, process: str) -> None:
        """Remove the offset of a process that ends.

        Raises:
            RedisError: Redis is away.
        """
        self._heartbeats.withdraw(process)

    def all(self) -> dict[str, float]:
        """Return by how many seconds each running process is ahead of Redis.

        Raises:
            RedisError: Redis is away, or refuses.
        """
        return self._heartbeats.running()


def is_beat(process: str) -> bool:
    """Return whether a process is a beat, by the name that it gives itself (`worker/app.py`)."""
    return process.startswith("beat@")


def _ahead_s(values: Mapping[str, Any]) -> float:
    return float(values["ahead_s"])
