"""What a read costs through `refreshd-reader`, beside a bare HGETALL through redis-py, in one run.

    python -m benchmarks.reader

On a Redis of its own on loopback, one thread or one event loop. The contestants take many short turns, in another
order each round. What counts is the lowest tenth of the rounds: what else runs on the machine only ever adds time.

Exit code 1: a read takes more than 1.3 times a bare HGETALL, or a cached read more than a twentieth of one.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import redis
import redis.asyncio
from rich.console import Console
from rich.table import Table

from refreshd_reader import AccountState, AsyncReader, Keys, Reader, Token
from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import redis_server

ROUNDS: Final = 300
READS: Final = 80
ACCOUNT: Final = "bench-1"
#: A read against a bare HGETALL: at most.
MAX_READ_RATIO: Final = 1.3
#: A cached read against a bare HGETALL: at most. Where a round trip takes 30 us, that is 1.5 us.
MAX_CACHED_RATIO: Final = 0.05

#: Reads `count` times and gives the seconds that it took.
Timed = Callable[[int], Awaitable[float]]


@dataclass(slots=True)
class Contestant:
    """One way to read, the bar it has to meet against its face's bare HGETALL, and what was measured, in us."""

    face: str
    name: str
    timed: Timed
    max_ratio: float | None = None
    us: list[float] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--reads", type=int, default=READS)
    options = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as server:
        contestants = asyncio.run(_measure(server.url, options.rounds, options.reads))
    table, met = _table(contestants, options.rounds)
    Console().print(table)
    return 0 if met else 1


async def _measure(url: str, rounds: int, reads: int) -> list[Contestant]:
    _publish(url)
    async with _contestants(url) as contestants:
        for contestant in contestants:
            await contestant.timed(reads)
        for turn in range(rounds):
            shift = turn % len(contestants)
            for contestant in contestants[shift:] + contestants[:shift]:
                contestant.us.append(await contestant.timed(reads) / reads * 1e6)
        return contestants


def _publish(url: str) -> None:
    keys, now = Keys(), time.time()
    token = Token(
        access_token="x" * 900,  # a JWT of usual length
        generation=7,
        scope="api refresh_token",
        issued_at=now,
        expires_at=now + 3600,
        extra={"instance_url": "https://eu1.example.com"},
    )
    with redis.Redis.from_url(url) as client:
        fields: dict[Any, Any] = {**token.to_hash()}
        client.hset(keys.token(ACCOUNT), mapping=fields)
        client.expire(keys.token(ACCOUNT), 3600)
        state: dict[Any, Any] = {**AccountState("active", 7).to_hash()}
        client.hset(keys.account(ACCOUNT), mapping=state)


@asynccontextmanager
async def _contestants(url: str) -> AsyncIterator[list[Contestant]]:
    key = Keys().token(ACCOUNT)
    with (
        redis.Redis.from_url(url) as bare,
        Reader.from_url(url) as reader,
        Reader.from_url(url, cache_size=10) as cached,
    ):
        async with (
            redis.asyncio.Redis.from_url(url) as async_bare,
            AsyncReader.from_url(url) as async_reader,
            AsyncReader.from_url(url, cache_size=10) as async_cached,
        ):
            await _until_served_from_the_process(cached, async_cached)
            yield [
                Contestant("sync", "redis-py: hgetall(key)", _sync(lambda: bare.hgetall(key))),
                Contestant("sync", "get(account)", _sync(lambda: reader.get(ACCOUNT)), MAX_READ_RATIO),
                Contestant(
                    "sync", "get(account), cached", _sync(lambda: cached.get(ACCOUNT)), MAX_CACHED_RATIO
                ),
                Contestant("sync", "get(account, min_lifetime_s=60)", _sync(lambda: reader.get(ACCOUNT, 60))),
                Contestant("async", "redis-py: hgetall(key)", _async(lambda: async_bare.hgetall(key))),
                Contestant(
                    "async", "get(account)", _async(lambda: async_reader.get(ACCOUNT)), MAX_READ_RATIO
                ),
                Contestant(
                    "async",
                    "get(account), cached",
                    _async(lambda: async_cached.get(ACCOUNT)),
                    MAX_CACHED_RATIO,
                ),
                Contestant(
                    "async", "get(account, min_lifetime_s=60)", _async(lambda: async_reader.get(ACCOUNT, 60))
                ),
            ]


async def _until_served_from_the_process(cached: Reader, async_cached: AsyncReader) -> None:
    """Read until the same object comes twice: the subscription's first heartbeat is back."""
    deadline = time.monotonic() + 10
    while cached.get(ACCOUNT) is not cached.get(ACCOUNT) or (
        await async_cached.get(ACCOUNT) is not await async_cached.get(ACCOUNT)
    ):
        if time.monotonic() > deadline:
            raise RuntimeError("no heartbeat came back: the cache is never served")
        await asyncio.sleep(0.01)


def _sync(read: Callable[[], object]) -> Timed:
    def timed(count: int) -> float:
        started_at = time.perf_counter()
        for _ in range(count):
            read()
        return time.perf_counter() - started_at

    # In a thread, so that the other face's heartbeats go on.
    return lambda count: asyncio.to_thread(timed, count)


def _async(read: Callable[[], Awaitable[object]]) -> Timed:
    async def timed(count: int) -> float:
        started_at = time.perf_counter()
        for _ in range(count):
            await read()
        return time.perf_counter() - started_at

    return timed


def _table(contestants: list[Contestant], rounds: int) -> tuple[Table, bool]:
    table = Table(title=f"One read, lowest tenth of {rounds} rounds")
    for column in ("face", "read", "us", "x bare HGETALL", "at most"):
        table.add_column(column, justify="left" if column in {"face", "read"} else "right")
    all_met = True
    for contestant in contestants:
        bare = next(other for other in contestants if other.face == contestant.face)
        ratio = _us(contestant) / _us(bare)
        met = contestant.max_ratio is None or ratio <= contestant.max_ratio
        all_met = all_met and met
        table.add_row(
            contestant.face,
            contestant.name,
            f"{_us(contestant):.2f}",
            f"{ratio:.3f}" + ("" if met else " MISSED"),
            "" if contestant.max_ratio is None else f"{contestant.max_ratio:g}",
        )
    return table, all_met


def _us(contestant: Contestant) -> float:
    return quantiles(contestant.us, n=10)[0]


if __name__ == "__main__":
    sys.exit(main())
