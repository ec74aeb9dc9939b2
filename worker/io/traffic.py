"""What Redis tells of the whole fleet: messages that wait, and providers that are left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from worker.io.budget import budget_key


@dataclass(frozen=True, slots=True)
class Traffic:
    """One look at Redis."""

    #: Queue -> messages that nobody has taken yet.
    queues: Mapping[str, int]
    #: Budget (a provider's name, or `callback:NAME`) -> its breaker is open.
    breakers: Mapping[str, bool]
    #: Budget -> it is left alone because the provider asked for that.
    pauses: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Staff:
    """Who is there to work: worker -> queues that it takes from, and how many beats."""

    workers: Mapping[str, Sequence[str]]
    beats: int


def look_at_traffic(redis: Redis, prefix: str, *, queues: Sequence[str], budgets: Sequence[str]) -> Traffic:
    """Look once, in one round trip.

    Raises:
        RedisError: Redis is away.
    """
    pipeline: Any = redis.pipeline(transaction=False)
    for queue in queues:
        pipeline.llen(queue)
    for name in budgets:
        pipeline.hexists(budget_key(prefix, name, "breaker"), "open")
    for name in budgets:
        pipeline.exists(budget_key(prefix, name, "pause"))
    replies = pipeline.execute()
    breakers, pauses = replies[len(queues) :][: len(budgets)], replies[len(queues) + len(budgets) :]
    return Traffic(
        queues=dict(zip(queues, map(int, replies), strict=False)),
        breakers=dict(zip(budgets, map(bool, breakers), strict=True)),
        pauses=dict(zip(budgets, map(bool, pauses), strict=True)),
    )
