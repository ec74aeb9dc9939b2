"""The cache never serves a token that has ended or was replaced; without a live subscription it serves none."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
import redis
import redis.asyncio

from refreshd_reader import (
    AsyncReader,
    Reader,
    RedisUnreachable,
    RefreshUnderWay,
    Token,
    UnknownAccount,
    cache,
)
from refreshd_reader.redis import announcements as hub
from refreshd_reader.state import look
from tests.integration.reader.proxy import Proxy
from tests.integration.reader.publisher import Face, MakeFace, Publisher, until
from tests.support.services import RedisServer
from worker.redis.publisher import TokenPublisher


@pytest.fixture
def cached(make_face: MakeFace) -> Face:
    return make_face(cache_size=100)


async def warm(face: Face, publisher: Publisher, account: str = "acct-1") -> None:
    """Read until a read no longer reaches Redis."""
    ends_at = time.monotonic() + 10
    while await _reaches_redis(face, publisher, account):
        assert time.monotonic() < ends_at, "the cache was never served"
        await asyncio.sleep(0.005)


async def _reaches_redis(face: Face, publisher: Publisher, account: str) -> bool:
    """Change the scope behind everybody's back, and see whether the reader sees it."""
    mark = f"mark-{time.monotonic_ns()}"
    publisher.client.hset(publisher.keys.token(account), "scope", mark)
    return (await face.get(account)).scope == mark


async def test_a_cached_token_is_served_without_redis(cached: Face, publisher: Publisher) -> None:
    publisher.publish("acct-1", 1)
    await warm(cached, publisher)
    assert not await _reaches_redis(cached, publisher, "acct-1")
    assert (await cached.get_many("acct-1"))["acct-1"] is await cached.get("acct-1")


async def test_an_announcement_replaces_it(cached: Face, publisher: Publisher) -> None:
    publisher.publish("acct-1", 1)
    publisher.publish("acct-2", 1)
    await warm(cached, publisher)
    await warm(cached, publisher, "acct-2")
    for generation in range(2, 30):
        publisher.publish("acct-1", generation)
        wanted = generation
        token = await cached.get("acct-1")
        while token.generation != wanted:  # the announcement is on its way
            await asyncio.sleep(0)
            token = await cached.get("acct-1")
    assert not await _reaches_redis(cached, publisher, "acct-2")


async def test_a_removed_account_is_not_served(
    cached: Face, publisher: Publisher, server: RedisServer
) -> None:
    publisher.publish("acct-1", 1)
    await warm(cached, publisher)
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await TokenPublisher(client, publisher.keys).drop("acct-1", 2)
    await until(lambda: publisher.client.exists(publisher.keys.token("acct-1")) == 0)
    with pytest.raises(UnknownAccount):
        await _read_for(cached, 10)


async def test_the_cached_generation_announced_again_stays_cached(cached: Face, publisher: Publisher) -> None:
    """As after a Redis that was filled again."""
    publisher.publish("acct-1", 1)
    publisher.publish("acct-2", 1)
    await warm(cached, publisher)
    await warm(cached, publisher, "acct-2")
    kept = await cached.get("acct-1")
    publisher.publish("acct-1", 1)
    publisher.publish("acct-2", 2)
    while (await cached.get("acct-2")).generation == 1:
        await asyncio.sleep(0)
    assert await cached.get("acct-1") is kept


async def test_an_ended_token_is_not_served(cached: Face, publisher: Publisher) -> None:
    publisher.publish("acct-1", 1, lifetime_s=600)
    await warm(cached, publisher)
    publisher.publish("acct-2", 1, lifetime_s=0.5)
    ends_at = time.monotonic() + 0.5
    await cached.get("acct-2")
    while time.monotonic() <= ends_at:
        await asyncio.sleep(0.02)
    with pytest.raises(RefreshUnderWay):
        await cached.get("acct-2")


async def test_a_cached_token_that_ends_too_soon_is_read_from_redis(
    cached: Face, publisher: Publisher
) -> None:
    publisher.publish("acct-1", 1, lifetime_s=30)
    await warm(cached, publisher)
    publisher.publish("acct-1", 2, announce=False)
    assert (await cached.get("acct-1")).generation == 1
    assert (await cached.get("acct-1", 60)).generation == 2
    assert (await cached.get("acct-1")).generation == 2


async def test_the_cache_is_bounded(make_face: MakeFace, publisher: Publisher) -> None:
    face = make_face(cache_size=2)
    for account in "abc":
        publisher.publish(account, 1)
    for account in "abc":
        await warm(face, publisher, account)
    assert [await _reaches_redis(face, publisher, account) for account in "cba"] == [False, False, True]


async def test_a_killed_subscription_serves_nothing(cached: Face, publisher: Publisher) -> None:
    """The announcement that was missed meanwhile has no second copy."""
    publisher.publish("acct-1", 1)
    await warm(cached, publisher)
    _kill_subscriptions(publisher)
    publisher.publish("acct-1", 2)
    await until(lambda: publisher.subscribers() == 1)
    assert (await cached.get("acct-1")).generation == 2
    await warm(cached, publisher)


def _kill_subscriptions(publisher: Publisher) -> None:
    publisher.client.client_kill_filter(_type="pubsub")


async def test_nothing_is_served_while_redis_is_away(
    make_face: MakeFace, publisher: Publisher, own_server: RedisServer
) -> None:
    own = redis.Redis.from_url(own_server.url, decode_responses=True)
    theirs = Publisher(own, publisher.keys.prefix)
    face = make_face(url=own_server.url, cache_size=10, timeout_s=0.5)
    theirs.publish("acct-1", 1)
    await warm(face, theirs)
    own_server.kill()
    with pytest.raises(RedisUnreachable):
        await _read_for(face, cache.VOUCH_S)
    own.close()
    own_server.start()
    await warm(face, theirs)
    own.close()


async def _read_for(face: Face, duration_s: float) -> None:
    ends_at = time.monotonic() + duration_s
    while time.monotonic() < ends_at:
        await asyncio.sleep(0)
        await face.get("acct-1")


async def test_a_connection_that_dies_silently_is_noticed(
    make_face: MakeFace, publisher: Publisher, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No FIN, no RST: a firewall forgot the connection. The heartbeat's answer is what is missed."""
    monkeypatch.setattr(cache, "VOUCH_S", 0.3)
    monkeypatch.setattr(hub, "VOUCH_S", 0.3)
    monkeypatch.setattr(hub, "HEARTBEAT_S", 0.05)
    async with Proxy(server.port) as proxy:
        face = make_face(
            url=server.url.replace(str(server.port), str(proxy.port)), cache_size=10, timeout_s=0.5
        )
        publisher.publish("acct-1", 1)
        await warm(face, publisher)
        proxy.freeze()
        publisher.publish("acct-1", 2)
        silent_since = time.monotonic()
        while (await face.get("acct-1")).generation == 1:
            await asyncio.sleep(0)
            assert time.monotonic() < silent_since + 10
        await warm(face, publisher)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_starts_with_an_empty_cache(server: RedisServer, publisher: Publisher) -> None:
    """The subscription stays in the parent: a child that served the parent's tokens would never hear of newer ones."""
    publisher.publish("acct-1", 1)
    with Reader.from_url(server.url, prefix=publisher.keys.prefix, cache_size=10) as reader:
        asyncio.run(warm(Face(reader), publisher))
        publisher.publish("acct-1", 2, announce=False)
        assert reader.get("acct-1").generation == 1
        child = os.fork()
        if child == 0:
            os._exit(reader.get("acct-1").generation)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
        assert reader.get("acct-1").generation == 1


def test_a_token_announced_during_its_read_is_not_cached() -> None:
    """Given a read that was answered before, and handled after, the announcement of a newer token."""
    tokens = cache.TokenCache(10)
    tokens.vouch(time.monotonic())
    seen = look("a", Token("t", 1), None, 60_000, time.time())
    first = tokens.begin("a")
    tokens.drop("a")
    tokens.keep("a", first, seen, time.monotonic())
    assert tokens.get("a", 0) is None
    second = tokens.begin("a")
    tokens.keep("a", second, seen, time.monotonic())
    assert tokens.get("a", 0) == seen.token


def test_a_reader_that_is_not_closed_does_not_keep_a_program_from_ending(
    server: RedisServer, publisher: Publisher
) -> None:
    """Whatever the subscription is in the middle of when `asyncio.run` cancels its task."""
    publisher.publish("acct-1", 1)

    async def program(turns: int) -> None:
        async with redis.asyncio.Redis.from_url(server.url) as client:
            reader = AsyncReader(client, prefix=publisher.keys.prefix, cache_size=10)
            await reader.get("acct-1")
            for _ in range(turns):
                await asyncio.sleep(0)

    for turns in range(30):
        asyncio.run(program(turns))
