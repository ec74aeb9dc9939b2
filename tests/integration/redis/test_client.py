"""Pipelines of ours, on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from worker.redis.client import CONNECTIONS_MAX, connect_async, run


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect_async(redis_url)
    yield client
    await client.aclose()


async def test_a_script_that_redis_forgot_is_loaded_and_everything_runs_once(redis: Redis) -> None:
    count = redis.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    for _ in range(2):
        await redis.script_flush()
        pipeline = redis.pipeline(transaction=False)
        pipeline.incr("plain")
        await count(keys=["scripted"], args=[5], client=pipeline)
        await count(keys=["scripted"], args=[7], client=pipeline)
        replies = await run(pipeline)

    assert replies == [2, 17, 24]


async def test_commands_that_find_no_connection_free_wait_for_one(redis: Redis) -> None:
    counts = await asyncio.gather(*(redis.incr("count") for _ in range(3 * CONNECTIONS_MAX)))
    assert sorted(counts) == list(range(1, 3 * CONNECTIONS_MAX + 1))


async def test_the_first_error_is_raised(redis: Redis) -> None:
    pipeline = redis.pipeline(transaction=False)
    pipeline.set("text", "a")
    pipeline.incr("text")
    with pytest.raises(ResponseError):
        await run(pipeline)


@pytest.mark.parametrize("value", ["", "a b", "\r\n", "\N{SNOWMAN}", "x" * 100_000])
async def test_what_is_packed_arrives_as_it_was(redis: Redis, value: str) -> None:
    await redis.set("key", value)
    assert await redis.get("key") == value
