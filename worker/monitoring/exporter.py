"""The collector of `refreshd exporter`: the fleet's gauges from SQL, Redis and the workers that answer.

A store that does not answer has `refreshd_up` 0 and no numbers: a number that is unknown must not look like the last
one that was known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from worker.context import AppContext
from worker.db.fleet.counts import count
from worker.monitoring.fleet_gauges import StoreState, of_counts, of_redis, of_stores, of_workers
from worker.monitoring.polling import PolledQuery, Poller
from worker.redis.counts import LiveWorkers, RedisCounts, look_at_traffic

#: The first scrape should find numbers; a store that hangs delays the start by no more than this.
FIRST_POLL_S: Final = 5.0
DATABASE: Final = "database"
REDIS: Final = "redis"
STORES: Final = (DATABASE, REDIS)


class FleetCollector(Collector):
    """Serves the last snapshot of the fleet. `start` polls in the background, `poll` once.

    Args:
        here: the stores.
        queues: names of the queues.
        staff: asks workers and beats.
    """

    def __init__(self, here: AppContext, *, queues: Sequence[str], staff: Callable[[], LiveWorkers]) -> None:
        self._here = here
        self._queues = queues
        self._gates: list[str] = []
        known = here.providers.known.values()
        self._many_origins = frozenset(one.name for one in known if one.host is None)
        self._counts = PolledQuery(DATABASE, lambda: count(here.engine))
        self._redis = PolledQuery(REDIS, self._count_redis)
        self._workers = PolledQuery("workers", staff)
        # A thread for each store: one that hangs keeps no numbers of the other. Redis carries the question to workers.
        self._pollers = (Poller([self._counts]), Poller([self._redis, self._workers]))

    def start(self) -> None:
        """Poll from now on, the database first: it knows which gates to look up in Redis."""
        for poller in self._pollers:
            poller.start()
            poller.ready.wait(FIRST_POLL_S)

    def stop(self) -> None:
        """Poll no more."""
        for poller in self._pollers:
            poller.stop()

    def poll(self) -> None:
        """Ask everything once, now."""
        for poller in self._pollers:
            poller.poll()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering a collector must not ask stores."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of the last snapshots."""
        counts, redis, workers = self._counts.latest(), self._redis.latest(), self._workers.latest()
        yield from of_stores({DATABASE: _state(self._counts), REDIS: _state(self._redis)})
        if counts is not None:
            yield from of_counts(counts.answer)
        if redis is not None:
            known = None if counts is None else counts.answer
            yield from of_redis(redis.answer, known, many_origins=self._many_origins)
            if workers is not None:
                yield from of_workers(workers.answer, self._queues)

    def _count_redis(self) -> RedisCounts:
        here, counts = self._here, self._counts.latest()
        if counts is not None:  # else the gates that it knew last
            self._gates = [gate for (gate,) in counts.answer.held]
        return look_at_traffic(
            here.redis,
            here.broker,
            here.settings.redis_prefix,
            queues=self._queues,
            gates=self._gates,
            now=here.clock.now(),
        )


def _state(query: PolledQuery[Any]) -> StoreState:
    latest = query.latest()
    return StoreState(latest is not None, query.took_s, None if latest is None else latest.age_s)
