"""A real fleet whose every secret is a marker, after it did everything that a fleet does."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey
from psycopg import sql
from sqlalchemy import Engine, text

from tests.contract.leaks.commands import run
from tests.contract.leaks.markers import Markers
from tests.contract.leaks.operators_task import operators_worker
from tests.contract.leaks.provider import telling_provider
from tests.support.fleet import Fleet, Member
from tests.support.server_process import free_port
from tests.support.services import PostgresServer, RedisServer
from tests.support.waiting import wait_until
from worker.db.engine import make_engine
from worker.db.migrate import upgrade

ROLE: Final = "leaks"
WORKER: Final = ("--pool", "threads", "--concurrency", "4", "--queues", "urgent,control,refresh")
CALLBACKS: Final = ("--pool", "threads", "--concurrency", "2", "--queues", "callback")
PLAIN: Final = ("--without-gossip", "--without-mingle", "--task-events", "--loglevel", "DEBUG")


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is, and what was planted."""

    markers: Markers
    fleet: Fleet
    engine: Engine
    redis_url: str
    accounts: tuple[str, ...]
    #: What the commands said while the accounts were made.
    said: dict[str, str]

    @contextmanager
    def pages(self) -> Iterator[httpx.Client]:
        """Open Flower's pages with its login."""
        login = self.fleet.environment["REFRESHD_FLOWER_BASIC_AUTH"].partition(":")
        base = f"http://127.0.0.1:{self.fleet.environment['REFRESHD_FLOWER_PORT']}"
        with httpx.Client(base_url=base, auth=login[::2], trust_env=False, timeout=30) as client:
            yield client


@pytest.fixture(scope="module")
def markers() -> Markers:
    return Markers()


@pytest.fixture(scope="module")
def planted_redis(tmp_path_factory: pytest.TempPathFactory, markers: Markers) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("leaks-redis"))
    server.password = markers.word("redis_password")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def planted_database(postgres_service: PostgresServer, markers: Markers) -> str:
    """A database whose user has a marker for a password."""
    postgres_service.create_database(ROLE)
    password = markers.word("database_password")
    with psycopg.connect(postgres_service.url_of(ROLE), autocommit=True) as connection:
        name = sql.Identifier(ROLE)
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(password)))
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, name))
        connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(name))
    url = f"postgresql://{ROLE}:{password}@127.0.0.1:{postgres_service.port}/{ROLE}"
    upgrade(url)
    return url


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory,
    markers: Markers,
    planted_redis: RedisServer,
    planted_database: str,
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("leaks")
    with telling_provider(markers) as base:
        environment = planted_settings(folder, markers, planted_redis.url, planted_database, base)
        rows = planted_accounts(markers, base)
        said = run({**os.environ, **environment}, imports(folder, rows, markers, base))
        accounts = (*(row["id"] for row in rows), "wm")
        engine = make_engine(planted_database)
        with (
            Fleet(environment, folder, forked=False) as fleet,
            operators_worker(planted_redis.url, environment["TASK_SECRET"], base),
        ):
            start(fleet)
            # Some twenty callbacks, each a process, and two workers that log all they can: slow on a busy machine.
            wait_until(lambda: tried(engine) >= set(accounts), f"each was tried: {accounts}", 300)
            yield Place(markers, fleet, engine, planted_redis.url, accounts, said)
        engine.dispose()


def planted_settings(
    folder: Path, markers: Markers, redis_url: str, database_url: str, base: str
) -> dict[str, str]:
    """Return every setting that is a secret, or holds one, as a marker."""

    def key(name: str) -> str:
        return base64.b64encode(markers.word(name).encode().ljust(32, b"k")[:32]).decode()

    planted = {
        "access_token": markers.text("published_tells"),
        "refresh_token": markers.text("tells_new_refresh_token"),
        "expires_in": 3600,
    }
    (folder / "planted.json").write_text(json.dumps(planted))
    (folder / "callbacks.yaml").write_text(
        f"endpoint: {{url: {base}/endpoint, secret_env: ENDPOINT_SECRET}}\n"
        f"endpoint-page: {{url: {base}/page, secret_env: ENDPOINT_SECRET}}\n"
        "task: {task: leaks.refresh, secret_env: TASK_SECRET}\n"
        "task-raises: {task: leaks.fail, queue: callback.task, secret_env: TASK_SECRET}\n"
    )
    return {
        "REFRESHD_DATA_DIR": str(folder),
        "REFRESHD_DATABASE_URL": database_url,
        "REFRESHD_REDIS_URL": redis_url,
        "REFRESHD_KEYS": f"k1:{key('key')}",
        "REFRESHD_PUBLISH_KEYS": f"p1:{key('publish_key')}",
        "REFRESHD_MESSAGE_KEYS": f"m1:{key('message_key')}",
        "REFRESHD_FLOWER_BASIC_AUTH": f"operator:{markers.word('flower_password')}",
        "REFRESHD_FLOWER_PORT": str(free_port()),
        "REFRESHD_WEBHOOK_URL": f"{base}/webhook",
        "REFRESHD_WEBHOOK_SECRET": f"whsec_{key('webhook_secret')}",
        "REFRESHD_ALLOW_HTTP_HOSTS": "127.0.0.1",
        "REFRESHD_CALLBACK_MODULES": "leaky_callbacks",
        "REFRESHD_CALLBACKS_FILE": str(folder / "callbacks.yaml"),
        "PYTHONPATH": str(Path(__file__).parent / "modules"),
        "PLANTED_FILE": str(folder / "planted.json"),
        "ENDPOINT_SECRET": key("endpoint_secret"),
        "TASK_SECRET": key("task_secret"),
        "NO_COLOR": "1",
    }


def planted_accounts(markers: Markers, base: str) -> list[dict[str, Any]]:
    """Return accounts whose every secret is a marker; the provider, or the callback, is told by the account's name."""
    pem = private_key(markers)
    ways: dict[str, dict[str, Any]] = {
        "ok": {"client_auth": "basic"},
        "query": {"refresh_method": "url_query"},
        **{name: {} for name in ("echo", "echo-escaped", "page", "broken", "no-token", "text")},
        "reset": {"refresh_method": "url_query"},
        "refused": {"refresh_method": "url_query", "token_url": f"http://127.0.0.1:{free_port()}/refused"},
        "jwt": {"client_auth": "private_key_jwt", "custom_fields": {"private_key": pem}},
        "dpop": {"dpop": True, "custom_fields": {"dpop_key": pem}},
        "dpop-jwk": {"dpop": True, "custom_fields": {"dpop_key": private_jwk(markers)}},
        "no-key": {
            "client_auth": "private_key_jwt",
            "custom_fields": {"private_key": markers.text("no_key_private_key")},
        },
        "header": {"client_auth": "basic", "headers": {"X-Api-Key": "${custom.tenant}"}},
        **{
            name: {"refresh_method": "callback", "callback": name}
            for name in ("tells", "raises-told", "refuses-told", "returns-told", "prints-new")
        },
        **{
            name: {"refresh_method": "callback", "callback": name}
            for name in ("endpoint", "endpoint-page", "task", "task-raises")
        },
    }
    return [
        {
            "id": account,
            "client_id": f"client-{account}",
            "client_secret": markers.text(f"{account}_client_secret"),
            "access_token": markers.token(f"{account}_access_token"),
            "refresh_token": markers.token(f"{account}_refresh_token"),
            "token_url": f"{base}/{account}",
            "issued_at": 1_700_000_000,
            "expires_in": 60,
            **way,
            "custom_fields": {
                "tenant": markers.text(f"{account}_custom_field"),
                **way.get("custom_fields", {}),
            },
        }
        for account, way in ways.items()
    ]


def private_key(markers: Markers) -> str:
    """Make a key; each line of its PEM is searched for."""
    pem = (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
    )
    for line in pem.splitlines()[1:-1]:
        markers.known(line[1:41], "private_key")
    return pem


def private_jwk(markers: Markers) -> str:
    """Make a key as a JWK; its private member is searched for."""
    jwk = ECKey.generate_key("P-256").as_dict(private=True)
    markers.known(str(jwk["d"])[1:41], "private_jwk")
    return json.dumps(jwk)


def imports(folder: Path, rows: list[dict[str, Any]], markers: Markers, base: str) -> list[tuple[str, ...]]:
    """Write files of accounts, good ones and ones that can't be read, and give the commands that import them."""
    files = {
        "accounts.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "webmethods.properties": (
            "wm.oauth.consumerId=wm\n"
            f"wm.oauth.consumerSecret={markers.word('wm_consumer_secret')}\n"
            f"wm.oauth.accessToken={markers.word('wm_access_token')}\n"
            f"wm.oauth_v20.refreshToken={markers.word('wm_refresh_token')}\n"
            f"wm.oauth_v20.accessTokenRefreshURL={base}/wm\nwm.oauth_v20.refreshAccessToken=true\n"
            f"wm.cr.password={markers.word('wm_other_password')}\n"
            f"bad.oauth.consumerSecret={{AES}}{markers.word('wm_aes')}\n"
            f"bad.oauth_v20.refreshToken=$secret{{{markers.word('wm_secret')}}}\n"
        ),
        **unreadable_files(markers),
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    return [
        ("-v", "accounts", "import", str(folder / name), *flags)
        for name in files
        for flags in ((), ("--json",) if name in {"bad.jsonl", "webmethods.properties"} else None)
        if flags is not None
    ]


def unreadable_files(markers: Markers) -> dict[str, str]:
    """Return what people get wrong in a file, with a secret beside it, or where the wrong thing stands."""

    def bad(name: str) -> str:
        return markers.word(f"bad_{name}")

    rows: list[dict[str, Any]] = [
        {"client_secret": [bad("list")]},
        {"client_secret": {"a": bad("object")}},
        {"custom_fields": bad("custom_fields")},
        {"custom_fields": {"a": {"b": bad("custom_field")}}},
        {"custom_fields": [bad("custom_fields_list")]},
        {"unknown": bad("unknown_column")},
        {"refresh_token": f"{bad('control')}\u0000\n"},
        {"token_url": f"https://user:{bad('url_password')}@provider.example/token"},
        {"token_url": f"ftp://user:{bad('ftp_password')}@provider.example/token"},
        {"headers": [bad("headers")]},
        {"client_auth": "private_key_jwt", "custom_fields": {"private_key": bad("pem")}},
        {"dpop": True, "custom_fields": {"dpop_key": bad("dpop_key")}},
        {"dpop": bad("dpop"), "custom_fields": {"dpop_key": bad("dpop_key_beside")}},
    ]
    good = {"client_id": "c", "client_secret": "s", "refresh_token": "r", "token_url": "https://p.example/t"}
    lines = [json.dumps({"id": f"bad-{number}", **good, **row}) for number, row in enumerate(rows)]
    cut = f'{{"id": "cut", "client_secret": "{bad("cut")}'
    return {
        "bad.jsonl": "\n".join([*lines, cut, f'"{bad("line")}"', bad("no_json")]),
        "bad.json": f'[{{"id": "x", "client_secret": "{bad("json")}"',
        "bad.yaml": f"- id: x\n  client_secret: {bad('yaml')}\n client_secret: {bad('yaml_indent')}\n",
        "bad-tag.yaml": f"- id: x\n  client_secret: !{bad('yaml_tag')} x\n  refresh_token: *{bad('yaml_alias')}\n",
        "bad.csv": f'id,client_secret\nx,s,{bad("csv_more")}\ny,"{bad("csv_quote")}\n',
        "no-header.csv": f"x,{bad('csv_header')}\n",
        "bad.properties": f"x.unknown={bad('properties')}\nx.oauth.consumerSecret={bad('unicode')}\\u12\n",
    }


def start(fleet: Fleet) -> None:
    """Start a worker, a callback worker, beat and Flower, that log all they can."""
    flower = fleet.flower()
    for name, options in (("worker", WORKER), ("callback", CALLBACKS)):
        arguments = ["worker", *options, *PLAIN, "--hostname", f"{name}@leaks"]
        fleet._start(Member(name, arguments, ready=" ready.", fleet=fleet))
    flower.wait_ready()
    fleet._start(Member("beat", ["beat", "--loglevel", "DEBUG"], ready="beat: Starting", fleet=fleet))
    fleet.wait_ready()


def tried(engine: Engine) -> set[str]:
    """Return the accounts that have an attempt which ended."""
    with engine.connect() as connection:
        return set(
            connection.scalars(
                text("SELECT account_id FROM attempt WHERE outcome IS NOT NULL AND outcome <> 'not_sent'")
            )
        )
