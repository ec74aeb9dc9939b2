"""The API with exactly the rights that are shipped, on a real PostgreSQL and Redis: it works, and can open nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from psycopg import errors
from pydantic import SecretStr

from models.tables.api_key import ApiScope
from tests.deploy.compose_file import ROOT
from tests.integration.api.conftest import Desk
from tests.integration.api.test_accounts import NEW
from tests.integration.conftest import Bench
from tests.integration.reader.acl_server import AclRedisServer, refusals
from tests.support.services import PostgresServer
from worker.crypto.cipher import generate_key
from worker.settings import Settings

PASSWORD = "it's-a-pass"


@pytest.fixture
def acl_server(tmp_path: Path) -> Iterator[AclRedisServer]:
    server = AclRedisServer(tmp_path / "acl")
    (tmp_path / "acl").mkdir(exist_ok=True)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def api_database_url(postgres_service: PostgresServer, postgres_url: str) -> Iterator[str]:
    """The database as the role of the API reaches it."""
    database = postgres_url.rpartition("/")[2].partition("?")[0]
    done = subprocess.run(
        [str(postgres_service.binaries / "psql"), "--no-psqlrc", "--quiet", f"--dbname={postgres_url}",
         f"--set=api_password={PASSWORD}", f"--file={ROOT / 'deploy/postgresql/api.sql'}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    place = psycopg.conninfo.conninfo_to_dict(postgres_url)
    yield f"postgresql://refreshd_api:{PASSWORD}@{place['host']}:{place['port']}/{database}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY refreshd_api CASCADE")
        connection.execute("DROP ROLE refreshd_api")


@pytest.fixture
def bench(postgres_url: str, acl_server: AclRedisServer, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(
        Settings(
            database_url=SecretStr(postgres_url),
            redis_url=SecretStr(acl_server.url_as("worker")),
            keys=SecretStr(generate_key("k1")),
            data_dir=tmp_path,
        )
    )
    yield made
    made.runtime.close()


@pytest.fixture
async def desk(
    bench: Bench, api_database_url: str, acl_server: AclRedisServer, tmp_path: Path
) -> AsyncIterator[Desk]:
    made = Desk(
        bench,
        tmp_path,
        database_url=api_database_url,
        redis_url=acl_server.url_as("api"),
        tokens=False,
    )
    yield made
    await made.context.aclose()


async def test_the_api_works_with_the_rights_that_are_shipped(
    desk: Desk, acl_server: AclRedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.bench.add("acct-1")
    desk.bench.add("acct-2", refresh_token="other")
    monkeypatch.setattr("worker.api.routes.refresh.send_forced", lambda _: ["task"])
    administrator = redis.Redis.from_url(acl_server.url, decode_responses=True)
    administrator.acl_log_reset()
    async with desk.client(labels={}) as client:
        grant = {"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 3600}
        calls = [
            await client.get("/readyz"),
            await client.put("/v1/accounts/acct-1/grant", json=grant),
            await client.get("/v1/accounts"),
            await client.get("/v1/accounts/acct-1"),
            await client.get("/v1/accounts/acct-1/history"),
            await client.get("/v1/accounts/acct-1/explain"),
            await client.put("/v1/accounts/new-1", json=NEW),
            await client.post(
                "/v1/accounts/acct-1/refresh", json={"force": True}, headers={"Idempotency-Key": "a"}
            ),
            await client.post("/v1/accounts/acct-1/token/rejected", json={"generation": 1}),
            await client.get("/v1/clients"),
        ]
    assert [one.status_code for one in calls] == [200, 200, 200, 200, 200, 200, 201, 202, 202, 200], [
        one.text for one in calls
    ]
    assert calls[1].json()["published"] is True
    explained = calls[5].json()
    assert explained["redis"]["token_generation"] == 2
    assert [
        one for one in explained["findings"] if one["cause"].startswith(("redis", "database", "key"))
    ] == []
    token = desk.bench.token("acct-1")
    assert token is not None
    assert token.access_token == "new-access"
    newest: Any = await desk.context.async_redis.xread({desk.context.keys.events: "0-0"}, block=10)
    assert newest
    assert refusals(administrator) == []
    administrator.close()


async def test_a_celery_message_is_sent_with_these_rights(desk: Desk, acl_server: AclRedisServer) -> None:
    """In a process of its own: an application of Celery belongs to one broker."""
    desk.bench.add("acct-1")
    script = (
        "from worker.celery.forced_refresh import send_forced\n"
        "from models.tables.account import Account\n"
        "print(send_forced([Account(id='acct-1', provider='acme', generation=1)]))\n"
        "print(send_forced([Account(id='acct-2', provider='acme', generation=1, refresh_method='callback')]))\n"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
    administrator = redis.Redis.from_url(acl_server.url, decode_responses=True)
    administrator.acl_log_reset()
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=inherited
        | {"REFRESHD_REDIS_URL": acl_server.url_as("api"), "REFRESHD_DATA_DIR": str(desk.settings.data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert administrator.llen("urgent") == 1
    assert administrator.llen("callback") == 1
    assert refusals(administrator) == []
    administrator.close()


FORBIDDEN_SQL = (
    "SELECT refresh_token_sealed FROM public.account",
    "SELECT access_token_sealed FROM public.account",
    "SELECT kept_sealed FROM public.account",
    "SELECT * FROM public.account",
    "SELECT client_secret_sealed FROM public.client",
    "UPDATE account SET token_url = 'https://mine.example'",
    "UPDATE account SET labels = '{}'",
    "UPDATE account SET client_secret_sealed = 'x'",
    "UPDATE account SET id = refresh_token_sealed",
    "INSERT INTO account (id, provider) VALUES ('x', 'acme')",
    "DELETE FROM account",
    "UPDATE client SET token_url = 'https://mine.example'",
    "INSERT INTO api_key (id, name, secret_hash, scopes, labels, created_at) VALUES ('1', 'x', 'x', '[]', '{}', 0)",
    "UPDATE api_key SET scopes = '[\"admin\"]'",
    "DELETE FROM audit",
    "UPDATE audit SET actor = 'x'",
    "UPDATE outbox SET body = 'x'",
    "CREATE TABLE mine (id int)",
)


def test_the_role_reads_nothing_that_is_sealed_and_changes_no_configuration(
    api_database_url: str, bench: Bench
) -> None:
    bench.add("acct-1")
    for statement in FORBIDDEN_SQL:
        with (
            psycopg.connect(api_database_url) as connection,
            pytest.raises((errors.InsufficientPrivilege, errors.UndefinedColumn)),
        ):
            connection.execute(statement)
    with psycopg.connect(api_database_url) as connection:
        row = connection.execute("SELECT refresh_token_sealed FROM refreshd_unsealed.account").fetchone()
    assert row == ("v1.k1.",), "that there is a value, and its key's id"


#: Replies and `urgent` are lists of its own: requests are sealed, and no reply holds a secret.
FORBIDDEN_REDIS = """
HGETALL refreshd:token:{acct-1}
HGET refreshd:token:{acct-1} access_token
HMGET refreshd:token:{acct-1} access_token
GET refreshd:stash:{acct-1}
SET refreshd:lock:{acct-1} mine
DEL refreshd:stash:{acct-1}
DUMP refreshd:token:{acct-1}
COPY refreshd:token:{acct-1} refreshd:account:{b}
RENAME refreshd:token:{acct-1} refreshd:account:{b}
EVAL return 0
LPUSH refresh message
LPUSH control message
PUBLISH /0.celery.pidbox shutdown
SUBSCRIBE /0.celery.pidbox
KEYS *
SCAN 0
CONFIG GET *
ACL LIST
MONITOR
FLUSHALL
""".strip().splitlines()


@pytest.mark.parametrize("command", FORBIDDEN_REDIS)
def test_the_redis_user_reads_no_token_and_controls_no_worker(
    acl_server: AclRedisServer, command: str
) -> None:
    client: Any = redis.Redis.from_url(acl_server.url_as("api"))
    if command == "EVAL return 0":
        command = "EVAL return\\ 0 0"
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())
    client.close()


def test_a_script_reads_no_token_either(acl_server: AclRedisServer) -> None:
    administrator = redis.Redis.from_url(acl_server.url, decode_responses=True)
    sha = administrator.script_load("return redis.call('HGETALL', KEYS[1])")
    client = redis.Redis.from_url(acl_server.url_as("api"))
    with pytest.raises(redis.exceptions.ResponseError, match=r"ACL|permission|can't access"):
        client.evalsha(sha, 1, "refreshd:token:{acct-1}")
    administrator.close()
    client.close()


async def test_nothing_that_the_process_has_opens_a_stored_grant(desk: Desk) -> None:
    """Its settings, its environment and everything that it can read."""
    desk.bench.add("acct-1")
    async with desk.client(ApiScope.ADMIN) as client:
        await client.put(
            "/v1/accounts/acct-1/grant", json={"access_token": "mkaccess", "refresh_token": "mkrefresh"}
        )
    settings = desk.context.settings
    assert (settings.keys, settings.keys_file, settings.keys_command, settings.publish_keys) == (None,) * 4
    assert not desk.context.has_keys
    with pytest.raises(Exception, match=r"no key|KEYS|keys"):
        _ = desk.context.cipher
    rows = await desk.context.read(_everything, desk.context)
    assert "mkrefresh" not in rows
    assert "mkaccess" not in rows
    assert "h1.k1." not in rows.replace("'v1.k1.'", "").replace("h1.k1.'", "'")


def _everything(context: Any) -> str:
    from sqlalchemy import text

    from worker.db.engine import reading

    with reading(context.engine) as connection:
        return repr(
            [
                connection.execute(
                    text(f"SELECT * FROM {name}")  # noqa: S608
                ).all()
                for name in ("account", "client", "api_key")
            ]
        )
