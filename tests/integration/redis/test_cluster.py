"""What workers write to a Redis Cluster: each script's keys have one slot, and a node that lacks a script is given it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any, Final

import pytest
import redis
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from models.publication import Publication
from refreshd_reader.contract import AccountState, Keys, Rejection, Token
from tests.support.clusters import ClusterNode, RedisCluster
from tests.support.waiting import wait_until
from worker.callbacks.heartbeats import CallbackHeartbeats
from worker.context import AppContext
from worker.crypto.cipher import generate_key
from worker.diagnostics.doctor.stores import check_redis
from worker.errors import RedisUnreachable
from worker.redis.client import connect, connect_async, in_words
from worker.redis.event_stream import EventFeed
from worker.redis.leases import NOTHING, Leases
from worker.redis.publisher import TokenPublisher
from worker.redis.report_stream import TRIMMED, ReportStream
from worker.redis.server_info import look_at
from worker.settings import Settings

KEYS: Final = Keys()
#: Enough for accounts on every node.
ACCOUNTS: Final = [f"acct-{number}" for number in range(60)]
LATER: Final = float(int(time.time())) + 1e6


@pytest.fixture
def here(cluster_service: RedisCluster) -> Iterator[redis.Redis]:
    client = connect(cluster_service.url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
async def client(cluster_service: RedisCluster, here: redis.Redis) -> AsyncIterator[Redis]:
    del here  # it has emptied the Cluster
    client = connect_async(cluster_service.url)
    yield client
    await client.aclose()


def tokens(generation: int) -> list[Publication]:
    return [
        Publication(account, AccountState("active", generation), Token("AT", generation, expires_at=LATER))
        for account in ACCOUNTS
    ]


async def test_tokens_answers_and_ends_of_leases_go_to_every_node_in_one_call(
    client: Redis, here: redis.Redis
) -> None:
    publisher = TokenPublisher(client, KEYS)
    leases = Leases(client, KEYS, lease_s=30, holder="one")
    assert await leases.acquire(dict.fromkeys(ACCOUNTS, 1)) == dict.fromkeys(ACCOUNTS, NOTHING)
    assert await Leases(client, KEYS, lease_s=30, holder="two").acquire(dict.fromkeys(ACCOUNTS, 1)) == {}
    held = {account: leases.hand_over(account) for account in ACCOUNTS}

    assert not await publisher.put(tokens(2), leases=held, answers=dict.fromkeys(ACCOUNTS, "sealed"))

    assert await publisher.put(tokens(1)) == dict.fromkeys(ACCOUNTS, 2)
    for account in ACCOUNTS:
        assert here.hget(KEYS.token(account), "generation") == "2"
        assert here.get(KEYS.answer(account)) == "sealed"
        assert not here.exists(KEYS.lock(account))
    await publisher.drop(ACCOUNTS[0], 3)
    assert not here.exists(KEYS.token(ACCOUNTS[0]))
    await leases.close()


async def test_a_node_that_forgot_its_scripts_is_given_them(
    client: Redis, cluster_service: RedisCluster, here: redis.Redis
) -> None:
    publisher = TokenPublisher(client, KEYS)
    await publisher.put(tokens(1))
    cluster_service.nodes[1].ask("SCRIPT FLUSH")

    assert not await publisher.put(tokens(2))

    assert {here.hget(KEYS.token(account), "generation") for account in ACCOUNTS} == {"2"}


async def test_a_slot_that_is_being_moved_is_written_on_whichever_side_its_keys_are(
    client: Redis, cluster_service: RedisCluster, here: redis.Redis
) -> None:
    publisher = TokenPublisher(client, KEYS)
    await publisher.put(tokens(1))
    key = KEYS.token(ACCOUNTS[0])
    source = cluster_service.primary_of(key)

    cluster_service.move_slot(key)
    assert cluster_service.primary_of(key) is not source
    assert not await publisher.put(tokens(2))

    assert {here.hget(KEYS.token(account), "generation") for account in ACCOUNTS} == {"2"}


async def test_an_account_whose_keys_are_on_both_sides_waits_and_no_other_does(
    client: Redis, cluster_service: RedisCluster, here: redis.Redis
) -> None:
    publisher = TokenPublisher(client, KEYS)
    await publisher.put(tokens(1))

    with cluster_service.moving_slot(KEYS.token(ACCOUNTS[0])):
        assert here.hget(KEYS.token(ACCOUNTS[0]), "generation") == "1", "readers follow each key"
        with pytest.raises(RedisError):
            await publisher.put(tokens(2))
        found = [here.hget(KEYS.token(account), "generation") for account in ACCOUNTS]
        assert found == ["1", *["2"] * (len(ACCOUNTS) - 1)]

    assert not await publisher.put(tokens(2))
    assert here.hget(KEYS.token(ACCOUNTS[0]), "generation") == "2"


async def test_reports_events_and_heartbeats_are_on_one_node_each(
    here: redis.Redis, client: Redis, cluster_service: RedisCluster
) -> None:
    group = "refreshd"
    here.xgroup_create(KEYS.rejected, group, id="0", mkstream=True)
    for _ in range(3):
        here.xadd(KEYS.rejected, dict[Any, Any](Rejection("a", 1, 401).to_entry()))
    here.xtrim(KEYS.rejected, maxlen=1, approximate=False)
    mended = ReportStream(here, KEYS, group).look()
    assert mended is not None
    assert (mended.why, mended.kept) == (TRIMMED, 1)
    assert CallbackHeartbeats(here, KEYS.prefix).offers() == {}
    feed = EventFeed(here, KEYS)
    await client.xadd(KEYS.events, {"type": "recovered", "account": "a", "at": "1"})
    assert [one.about for one in feed.new()] == ["a"]
    assert await client.blpop(["refreshd:reply:none"], timeout=0.1) is None
    assert {str(name) for name in here.scan_iter()} == {KEYS.events, KEYS.rejected, "refreshd:reports"}
    del cluster_service


async def test_a_cluster_is_another_one_when_a_primary_is(
    client: Redis, cluster_service: RedisCluster
) -> None:
    await client.set("refreshd:a", "1")
    before = await look_at(client)
    assert await look_at(client) == before
    node: ClusterNode = cluster_service.nodes[0]
    node.kill()
    node.start()
    wait_until(cluster_service.is_whole, "a Cluster that is whole")
    assert (await look_at(client)).id != before.id
    assert (len(before.id), before.keys, before.evicted) == (64, 1, 0)


def _queued(pipeline: Any) -> Any:
    pipeline.get("a")
    return pipeline


async def test_what_keeps_a_client_out_is_an_error_of_redis(cluster_service: RedisCluster) -> None:
    wrong = cluster_service.url.replace(cluster_service.password, "wrong")
    for url in (wrong, "cluster://127.0.0.1:1"):
        client, open_client = connect(url), connect_async(url)
        with pytest.raises(RedisError):
            client.ping()
        with pytest.raises(RedisError):
            await open_client.ping()
        with pytest.raises(RedisError):
            await _queued(open_client.pipeline(transaction=False)).execute()
        await open_client.aclose()
    with pytest.raises(RedisUnreachable, match=r"Redis at 127\.0\.0\.1:1 can't be used"), in_words(url):
        raise RedisConnectionError


def test_doctor_checks_each_primary_and_misses_the_replicas(
    cluster_service: RedisCluster, redis_url: str, sqlite_url: str
) -> None:
    def found(url: str) -> dict[tuple[str, str], str]:
        settings = Settings(
            database_url=SecretStr(sqlite_url),
            redis_url=SecretStr(url),
            broker_url=SecretStr(redis_url),
            keys=SecretStr(generate_key()),
        )
        with closing(AppContext(settings)) as stores:
            return {(one.check, one.level.value): one.message for one in check_redis(stores)}

    results = found(cluster_service.url)
    assert not [one for one in results if one[1] == "failed"]
    assert "a Cluster of 3 primaries" in results["redis", "ok"]
    assert "no replica follows 127.0.0.1:" in results["redis", "warning"]

    port = cluster_service.nodes[0].port
    results = found(f"redis://:{cluster_service.password}@127.0.0.1:{port}/0")
    assert "spoken to as a single server" in results["redis writes", "failed"]
