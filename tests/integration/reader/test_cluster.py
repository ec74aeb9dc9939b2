"""A real Cluster: every command has a single key, so that one pipeline serves accounts of all nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster
from redis.crc import key_slot

from refreshd_reader import Announcement, AsyncReader, Keys, Reader, Rejection, Token, UnknownAccount
from tests.integration.reader.acl_server import USERS
from tests.integration.reader.publisher import Face, Kind, until
from tests.support.clusters import SLOTS
from tests.support.clusters import RedisCluster as RunningCluster


@pytest.fixture
def client(cluster_service: RunningCluster) -> Iterator[RedisCluster]:
    made = RedisCluster(**_login(cluster_service))
    yield made
    made.close()


@pytest.fixture
async def face(kind: Kind, cluster_service: RunningCluster) -> AsyncIterator[Face]:
    if kind == "sync":
        with Reader.from_url(cluster_service.url, cache_size=10) as reader:
            yield Face(reader)
        return
    async with AsyncReader.from_url(cluster_service.url, cache_size=10) as open_reader:
        yield Face(open_reader)


def _login(cluster: RunningCluster) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": cluster.nodes[0].port, "password": cluster.password}


def _publish(client: Any, account: str, generation: int) -> None:
    client.hset(Keys().token(account), mapping=Token(f"access-{account}", generation).to_hash())
    client.publish(Keys().announce, Announcement(account, generation).to_text())


async def test_many_accounts_on_all_nodes(face: Face, client: RedisCluster) -> None:
    accounts = [f"acct-{number}" for number in range(20)]
    assert {key_slot(Keys().token(account).encode()) < SLOTS // 2 for account in accounts} == {True, False}
    for account in accounts:
        _publish(client, account, 1)
    found = await face.get_many(*accounts, "nobody")
    assert [token.access_token for token in found.values() if isinstance(token, Token)] == [
        f"access-{account}" for account in accounts
    ]
    assert isinstance(found["nobody"], UnknownAccount)


async def test_a_refused_token_is_replaced_whichever_node_announces(face: Face, client: RedisCluster) -> None:
    for account in ("acct-1", "acct-2", "acct-3"):
        _publish(client, account, 1)
        assert (await face.get(account)).generation == 1
        client.delete(Keys().rejected)
        wait = asyncio.create_task(face.replacement(account, 1, 401, 30))
        await until(lambda: bool(client.xlen(Keys().rejected)))
        entries: Any = client.xrange(Keys().rejected)
        fields = {name.decode(): value.decode() for name, value in entries[0][1].items()}
        assert Rejection.from_entry(fields) == Rejection(account, 1, 401)
        _publish(client, account, 2)
        newer = await wait
        assert newer is not None
        assert newer.generation == 2
        assert (await face.get(account)).generation == 2


async def test_a_connectors_rights_on_a_cluster(cluster_service: RunningCluster, kind: Kind) -> None:
    """The line of deploy/redis/users.acl, and what docs/redis.md adds for a Cluster."""
    [line] = [line for line in USERS.read_text().splitlines() if line.startswith("user refreshd-connector ")]
    rules = line.replace("${CONNECTOR_PASSWORD}", "connect").split()[2:]
    rules += ["+cluster|slots", "+cluster|shards", "+cluster|info", "+command"]
    administrator: Any = RedisCluster(**_login(cluster_service))
    administrator.execute_command("ACL SETUSER", "connector", *rules, target_nodes=RedisCluster.ALL_NODES)
    accounts = [f"shop-{number}" for number in range(10)]
    for account in accounts:
        _publish(administrator, account, 1)
    login = _login(cluster_service) | {"username": "connector", "password": "connect"}
    if kind == "sync":
        client = RedisCluster(**login)
        with Reader(client) as reader:
            assert all(isinstance(x, Token) for x in reader.get_many(accounts).values())
            reader.report_rejected(accounts[0], 1, 401)
        client.close()
    else:
        async with AsyncRedisCluster(**login) as open_client, AsyncReader(open_client) as open_reader:
            assert all(isinstance(x, Token) for x in (await open_reader.get_many(accounts)).values())
            await open_reader.report_rejected(accounts[0], 1, 401)
    administrator.close()
