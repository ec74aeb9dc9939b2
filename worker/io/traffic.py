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


@dataclass(frozen=True, slots=True)
class Spending:
    """What is known of one budget at this moment. Durations in seconds; None: not the case."""

    name: str
    in_flight: int
    #: The provider asked to be left alone for this long.
    paused_s: float | None
    #: It was found down; a probe goes out in this long.
    breaker_open_s: float | None


def look_at_budgets(redis: Redis, prefix: str, budgets: Sequence[str]) -> list[Spending]:
    """Look at budgets, in one round trip; gives those that are in use or left alone.

    Raises:
        RedisError: Redis is away.
    """
    pipeline: Any = redis.pipeline(transaction=False)
    pipeline.time()
    for name in budgets:
        pipeline.zcard(budget_key(prefix, name, "in_flight"))
        pipeline.pttl(budget_key(prefix, name, "pause"))
        pipeline.hmget(budget_key(prefix, name, "breaker"), "open", "until")
    clock, *replies = pipeline.execute()
    now_ms = clock[0] * 1000 + clock[1] / 1000
    found = []
    for name, in_flight, pause_ms, (opened, until_ms) in zip(
        budgets, replies[::3], replies[1::3], replies[2::3], strict=True
    ):
        breaker_s = max(float(until_ms or 0) - now_ms, 0.0) / 1000 if opened else None
        if in_flight or pause_ms > 0 or opened:
            found.append(Spending(name, int(in_flight), pause_ms / 1000 if pause_ms > 0 else None, breaker_s))
    return found


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
