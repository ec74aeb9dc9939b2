"""What Redis tells of the whole fleet: messages that wait, and gates that are closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from redis import Redis

from worker.policy.gates import Gate
from worker.redis.clock_offsets import ClockOffsets
from worker.redis.gates import read_gates


class RedisCounts(Struct, frozen=True):
    """One look at Redis."""

    #: Queue -> messages that nobody has taken yet.
    queues: Mapping[str, int]
    #: Closed gates that hold accounts, by name.
    closed: Mapping[str, Gate]
    #: Worker or beat -> seconds by which its clock is ahead of Redis'.
    clocks: Mapping[str, float] = field(default_factory=dict)


class LiveWorkers(Struct, frozen=True):
    """Who is there to work: worker -> queues that it takes from, and how many beats."""

    workers: Mapping[str, Sequence[str]]
    beats: int
    #: What more than one worker is called.
    namesakes: Sequence[str] = ()
    #: Worker -> the ids of its keys, None where it is of a release that does not answer that.
    keys: Mapping[str, frozenset[str] | None] = field(default_factory=dict)


def look_at_traffic(
    redis: Redis, broker: Redis, prefix: str, *, queues: Sequence[str], gates: Sequence[str], now: float
) -> RedisCounts:
    """Look once at each of the two.

    Args:
        redis: of the gates.
        broker: of the queues, and of the clocks that they go by.
        prefix: of all keys but the queues'.
        queues: whose messages to count.
        gates: those that hold accounts.
        now: epoch seconds of the database's clock.

    Raises:
        RedisError: Redis is away.
    """
    pipeline: Any = broker.pipeline(transaction=False)
    for queue in queues:
        pipeline.llen(queue)
    lengths = pipeline.execute()
    known = read_gates(redis, prefix, gates)
    return RedisCounts(
        queues=dict(zip(queues, map(int, lengths), strict=True)),
        closed={name: gate for name, gate in known.items() if gate.is_closed(now)},
        clocks=ClockOffsets(broker, prefix).all(),
    )
