"""A real Cluster of two nodes: every command has a single key, so that one pipeline serves accounts of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster
from redis.crc import key_slot

from refreshd_reader import Announcement, AsyncReader, Keys, Reader, Rejection, Token, UnknownAccount
from tests.integration.reader.acl_server import USERS
from tests.integration.reader.publisher import Face, Kind, until
from tests.support.server_process import free_port
from tests.support.services import RedisServer

#: Hash slots of a Cluster (redis.io/docs/reference/cluster-spec).
SLOTS = 16384


class ClusterNode(RedisServer):
    """One primary. Its bus has a free port of its own: the usual one, 10000 above, may not exist."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        super().__init__(directory)
        self.bus_port = free_port()
        self.password = "cluster"

    def _command(self) -> list[str]:
        command = super()._command()
        with Path(command[-1]).open("a") as config:
            config.write(f"cluster-enabled yes\ncluster-port {self.bus_port}\n")
        return command


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterNode]:
    """Return the first of two nodes that have half of the slots each."""
    nodes = [ClusterNode(tmp_path_factory.mktemp("cluster") / name) for name in ("one", "two")]
    with ExitStack() as stack:
        clients: list[Any] = []
        for node in nodes:
            stack.callback(node.stop)
            node.start()
            clients.append(stack.enter_context(redis.Redis.from_url(node.url, decode_responses=True)))
        half = SLOTS // 2
        clients[0].execute_command("CLUSTER", "ADDSLOTSRANGE", 0, half - 1)
        clients[1].execute_command("CLUSTER", "ADDSLOTSRANGE", half, SLOTS - 1)
        clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[1].port, nodes[1].bus_port)
        asyncio.run(until(lambda: all(_formed(client) for client in clients), deadline_s=30))
        yield nodes[0]


def _formed(client: Any) -> bool:
    info = client.cluster("INFO")
    return bool(info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "2")


@pytest.fixture
def client(cluster: ClusterNode) -> Iterator[RedisCluster]:
    made = RedisCluster(host="127.0.0.1", port=cluster.port, password=cluster.password)
    yield made
    made.close()


@pytest.fixture
async def face(kind: Kind, cluster: ClusterNode, client: RedisCluster) -> AsyncIterator[Face]:
    if kind == "sync":
        with Reader(client, cache_size=10) as reader:
            yield Face(reader)
        return
    open_client = AsyncRedisCluster(host="127.0.0.1", port=cluster.port, password=cluster.password)
    async with AsyncReader(open_client, cache_size=10) as open_reader:
        yield Face(open_reader)
    await open_client.aclose()


def _publish(client: Any, account: str, generation: int) -> None:
    client.hset(Keys().token(account), mapping=Token(f"access-{account}", generation).to_hash())
    client.publish(Keys().announce, Announcement(account, generation).to_text())


async def test_many_accounts_on_both_nodes(face: Face, client: RedisCluster) -> None:
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


async def test_a_connectors_rights_on_a_cluster(cluster: ClusterNode, kind: Kind) -> None:
    """The line of deploy/redis/users.acl, and what docs/redis.md adds for a Cluster."""
    [line] = [line for line in USERS.read_text().splitlines() if line.startswith("user refreshd-connector ")]
    rules = line.replace("${CONNECTOR_PASSWORD}", "connect").split()[2:]
    rules += ["+cluster|slots", "+cluster|shards", "+command"]
    administrator: Any = RedisCluster(host="127.0.0.1", port=cluster.port, password=cluster.password)
    administrator.execute_command("ACL SETUSER", "connector", *rules, target_nodes=RedisCluster.ALL_NODES)
    accounts = [f"shop-{number}" for number in range(10)]
    for account in accounts:
        _publish(administrator, account, 1)
    login: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": cluster.port,
        "username": "connector",
        "password": "connect",
    }
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
