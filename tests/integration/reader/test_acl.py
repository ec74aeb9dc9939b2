"""deploy/redis/users.acl: each user can do its work, without one refusal in `ACL LOG`, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.publication import Publication
from refreshd_reader import AccountState, Keys, RedisRefused, Token, UnknownAccount
from tests.deploy.compose_file import ROOT, services
from tests.deploy.service import Service
from tests.integration.reader.acl_server import AclRedisServer, refusals
from tests.integration.reader.publisher import MakeFace, Publisher, until
from tests.support.server_process import free_port
from worker.db.migrate import upgrade
from worker.redis.publisher import TokenPublisher


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_connector_reads_waits_and_reports(
    acl_server: AclRedisServer, administrator: redis.Redis, make_face: MakeFace, protocol: int
) -> None:
    publisher = Publisher(administrator, Keys().prefix)
    publisher.publish("acct-1", 1)
    url = f"{acl_server.url_as('connector')}?protocol={protocol}"
    for cache_size in (0, 10):
        face = make_face(url=url, prefix=Keys().prefix, cache_size=cache_size)
        generation = (await face.get("acct-1", 60)).generation
        assert len(await face.get_many("acct-1", "acct-2")) == 2
        with pytest.raises(UnknownAccount):
            await face.get("acct-2")
        wait = asyncio.create_task(face.replacement("acct-1", generation, 401))
        await until(lambda: administrator.xlen(publisher.keys.rejected) > 0)
        await until(lambda: publisher.subscribers() >= 1)
        publisher.publish("acct-1", generation + 1)
        assert (await wait) is not None
        administrator.delete(publisher.keys.rejected)
        await face.close()
    assert refusals(administrator) == []


async def test_the_reader_names_the_missing_right(acl_server: AclRedisServer, make_face: MakeFace) -> None:
    face = make_face(url=acl_server.url_as("watcher"), prefix=Keys().prefix)
    for call in (
        face.get("acct-1"),
        face.get("acct-1", 60),
        face.wait_for("acct-1", newer_than=1, timeout_s=30),
    ):
        with pytest.raises(RedisRefused, match=r"refuses: .*the prefix the one of the workers\?"):
            await call
    nobody = make_face(url=f"redis://127.0.0.1:{acl_server.port}/0", prefix=Keys().prefix)
    with pytest.raises(
        RedisRefused, match="refuses: it requires a login; expected redis://USER:PASSWORD@HOST"
    ):
        await nobody.get("acct-1")


CONNECTOR_MAY_NOT = """
HSET refreshd:token:{a} access_token mine
DEL refreshd:token:{a}
EXPIRE refreshd:token:{a} 1
HSET refreshd:account:{a} status active
GET refreshd:lock:{a}
HGETALL refreshd:lock:{a}
SET refreshd:lock:{a} mine
HGETALL refreshd:stash:{a}
HGETALL other
XADD refreshd:token:{a} * f v
XADD refreshd:events * type refreshed
XADD refresh * f v
XRANGE refreshd:rejected - +
XREAD STREAMS refreshd:rejected 0
XTRIM refreshd:rejected MAXLEN 0
DEL refreshd:rejected
HGETALL refreshd:rejected
LPUSH refresh message
LLEN refresh
SUBSCRIBE /0.celery.pidbox
PSUBSCRIBE *
PUBLISH refreshd:announce a
EVAL return 0
KEYS *
SCAN 0
RANDOMKEY
INFO
CONFIG GET *
CLIENT LIST
CLIENT KILL TYPE normal
CLIENT PAUSE 1
CLIENT UNBLOCK 1
CLIENT TRACKING ON BCAST
ACL LIST
MONITOR
MULTI
FLUSHALL
SELECT 1
"""
WATCHER_MAY_NOT = """
HGETALL refreshd:token:{a}
HGETALL refreshd:token:{x.celery.pidbox}
HGETALL refreshd:account:{a}
GET refreshd:lock:{a}
GET refreshd:stash:{a}
XADD refreshd:rejected * account a
XADD refreshd:events * type refreshed
SUBSCRIBE refreshd:announce
KEYS *
SCAN 0
EVAL return(redis.call('hgetall','refreshd:token:{a}')) 0
CONFIG GET *
FLUSHALL
ACL LIST
MONITOR
"""
EVENTS_MAY_NOT = """
HGETALL refreshd:token:{a}
HGETALL refreshd:account:{a}
GET refreshd:lock:{a}
GET refreshd:stash:{a}
XREAD STREAMS refreshd:rejected 0
XADD refreshd:events * type refreshed
XADD refreshd:rejected * account a
XTRIM refreshd:events MAXLEN 0
XGROUP CREATE refreshd:events mine 0
DEL refreshd:events
LRANGE urgent 0 -1
SUBSCRIBE refreshd:announce
PSUBSCRIBE *
EVAL return 0
KEYS *
SCAN 0
CONFIG GET *
INFO
FLUSHALL
"""
WORKER_MAY_NOT = """
GET other
SET other mine
SUBSCRIBE other
KEYS *
CONFIG SET maxmemory 1
FLUSHALL
FLUSHDB
SHUTDOWN
ACL SETUSER me on nopass ~* &* +@all
ACL LIST
MONITOR
REPLICAOF localhost 1
MODULE LIST
CLIENT KILL TYPE normal
"""


def _forbidden() -> list[tuple[str, str]]:
    tables = {
        "connector": CONNECTOR_MAY_NOT,
        "watcher": WATCHER_MAY_NOT,
        "worker": WORKER_MAY_NOT,
        "events": EVENTS_MAY_NOT,
    }
    return [(user, line) for user, table in tables.items() for line in table.strip().splitlines()]


@pytest.mark.parametrize(("user", "command"), _forbidden())
def test_nothing_else(acl_server: AclRedisServer, user: str, command: str) -> None:
    words: list[Any] = command.split()
    with (
        redis.Redis.from_url(acl_server.url_as(user)) as client,
        pytest.raises(redis.ResponseError, match=r"(?i)no permissions|can't access"),
    ):
        client.execute_command(*words)


def test_events_are_read_and_nothing_else(acl_server: AclRedisServer, administrator: redis.Redis) -> None:
    stream = Keys().events
    administrator.xadd(stream, {"type": "reauthorize", "account": "acct-1"})
    with redis.Redis.from_url(acl_server.url_as("events"), decode_responses=True) as client:
        assert client.ping()
        read: Any = client.xread({stream: "0"}, count=10, block=10)
        assert read[0][1][-1][1]["account"] == "acct-1"
        assert client.xrevrange(stream, count=1)
        assert client.xrange(stream, "-", "+", count=1)
        assert client.xlen(stream) >= 1
    assert refusals(administrator) == []


def test_a_login_is_required(acl_server: AclRedisServer) -> None:
    with (
        redis.Redis(port=acl_server.port, protocol=2, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError, match="Authentication required"),
    ):
        client.ping()


async def test_worker_beat_and_flower_work_without_a_refusal(
    acl_server: AclRedisServer, administrator: redis.Redis, tmp_path: Path
) -> None:
    """Their own processes, by the commands of compose.yaml: the worker as `worker`, the others as `watcher`.

    Without the options that keep Celery's workers from talking to each other: who types the README's command says none.
    """
    database_url = f"sqlite:///{tmp_path}/refreshd.db"
    upgrade(database_url)
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    settings = dict.fromkeys(
        re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE), "unused"
    )
    settings |= {"REFRESHD_KEYS": f"k1:{key}", "REFRESHD_FLOWER_BASIC_AUTH": "operator:pages"}
    definitions = services(settings)

    def service(name: str, user: str, **environment: str) -> Service:
        address = {"REFRESHD_REDIS_URL": acl_server.url_as(user), "REFRESHD_DATABASE_URL": database_url}
        return Service(name, definitions[name], tmp_path, **address, **environment)

    port = free_port()
    definitions["worker"]["command"] = [
        word for word in definitions["worker"]["command"] if not word.startswith("--without-")
    ]
    worker, beat = service("worker", "worker"), service("beat", "watcher")
    flower = service("flower", "watcher", REFRESHD_FLOWER_PORT=str(port))
    with worker.running(), beat.running(), flower.running():
        for started in (worker, beat, flower):
            await asyncio.to_thread(started.wait_healthy)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for page in ("/workers?refresh=1", "/broker", "/tasks"):
                assert (await client.get(page, auth=("operator", "pages"))).status_code == 200
        await until(lambda: "refreshd.plan" in worker.said or administrator.llen("control") == 0)
    assert refusals(administrator) == []


async def test_the_worker_publishes_what_the_connector_reads(
    acl_server: AclRedisServer, administrator: redis.Redis, make_face: MakeFace
) -> None:
    async with redis.asyncio.Redis.from_url(acl_server.url_as("worker")) as client:
        token = Token("access", 7, expires_at=4102444800)
        await TokenPublisher(client, Keys()).put([Publication("acct-1", AccountState("active", 7), token)])
    face = make_face(url=acl_server.url_as("connector"), prefix=Keys().prefix)
    assert await face.get("acct-1") == token
    assert refusals(administrator) == []
