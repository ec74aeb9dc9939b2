"""The callbacks of each running worker, as its heartbeat in Redis (`refreshd:callbacks`) has them."""

from __future__ import annotations

from redis import Redis

from worker.callbacks.catalog import CallbackCatalog
from worker.redis.heartbeats import Heartbeats


class CallbackHeartbeats:
    """The heartbeats of all running workers."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._heartbeats = Heartbeats(redis, f"{prefix}callbacks", CallbackCatalog.from_json)

    def announce(self, worker: str, offer: CallbackCatalog) -> None:
        """Write a worker's heartbeat.

        Raises:
            RedisError: Redis is away.
        """
        self._heartbeats.write(worker, offer.to_json(), now=self._heartbeats.now())

    def withdraw(self, worker: str) -> None:
        """Remove the heartbeat of a worker that ends.

        Raises:
            RedisError: Redis is away.
        """
        self._heartbeats.withdraw(worker)

    def offers(self) -> dict[str, CallbackCatalog]:
        """Return the catalog of each running worker, by worker.

        Raises:
            RedisError: Redis is away.
        """
        return self._heartbeats.running()
