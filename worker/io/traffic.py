"""What Redis tells of the whole fleet: messages that wait, and providers that are left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from models.budget import provider_of
from worker.io.budget import budget_key, hosts_key


@dataclass(frozen=True, slots=True)
class Traffic:
    """One look at Redis."""

    #: Queue -> messages that nobody has taken yet.
    queues: Mapping[str, int]
    #: Budget (a provider's name, or `callback:NAME`) -> its breaker is open.
    breakers: Mapping[str, bool]
    #: Budget -> it is left alone because the provider asked for that.
    pauses: Mapping[str, bool]
    #: Provider that has a host for each tenant -> so many of them count as down.
    hosts_down: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Staff:
    """Who is there to work: worker -> queues that it takes from, and how many beats."""

    workers: Mapping[str, Sequence[str]]
    beats: int
    #: What more than one worker is called.
    namesakes: Sequence[str] = ()


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


def hosts_of_note(redis: Redis, prefix: str) -> list[str]:
    """Give the budgets of single hosts that were left alone lately, whether or not they still are.

    Raises:
        RedisError: Redis is away.
    """
    client: Any = redis
    return [str(name) for name in client.lrange(hosts_key(prefix), 0, -1)]


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
        hosts_down=_down(redis, prefix, hosts_of_note(redis, prefix), budgets),
    )


def _down(redis: Redis, prefix: str, hosts: Sequence[str], budgets: Sequence[str]) -> dict[str, int]:
    pipeline: Any = redis.pipeline(transaction=False)
    for name in hosts:
        pipeline.hexists(budget_key(prefix, name, "breaker"), "open")
    found = Counter({name: 0 for name in budgets if not name.startswith("callback:")})
    for name, is_open in zip(hosts, pipeline.execute(), strict=True):
        if provider_of(name) in found:
            found[provider_of(name)] += bool(is_open)
    return dict(found)
