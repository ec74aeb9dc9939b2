"""No secret is kept in clear or shown anywhere, but the access token that is published for connectors."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import LargeBinary, MetaData, String

from refreshd_reader.contract import Keys
from refreshd_reader.sealing import TokenSeal
from tests.contract.leaks.commands import run
from tests.contract.leaks.conftest import ROLE, Place
from tests.contract.leaks.markers import Markers
from tests.contract.leaks.places import flower_answers, redis_keys, table_columns
from tests.support.services import PostgresServer, RedisServer
from tests.support.waiting import wait_until
from worker.db.engine import make_engine
from worker.redis.client import connect

pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
    # The fleet's start counts to the first test.
    pytest.mark.timeout(600),
]


def none(found: str) -> None:
    """Fail with every leak: pytest would show the first few."""
    if found:
        pytest.fail(found, pytrace=False)


def leaks(place: Place, found: Iterable[tuple[str, str]]) -> str:
    """Return each leak as a line: pytest shows a list's beginning, and a text as it is."""
    return "\n".join(
        sorted({str(leak) for where, content in found for leak in place.markers.find(where, content)})
    )


def test_redis_holds_none_and_the_published_access_tokens_only_sealed(place: Place) -> None:
    none(leaks(place, redis_keys(place.redis_url)))
    seal = TokenSeal.of(place.fleet.environment["REFRESHD_PUBLISH_KEYS"])
    keys, client = Keys(), connect(place.redis_url)
    hashes: dict[str, Any] = {account: client.hgetall(keys.token(account)) for account in place.accounts}
    client.close()
    published = {account: seal.opened(account, fields) for account, fields in hashes.items() if fields}
    assert len(published) >= 5
    for account, fields in published.items():
        assert place.markers.find(account, fields["access_token"]), "what was sealed would have been found"


def test_no_column_of_any_table_holds_one(place: Place) -> None:
    none(leaks(place, table_columns(place.engine)))


def test_no_process_logs_one(place: Place) -> None:
    logs = [(path.name, path.read_text(errors="replace")) for path in place.fleet.folder.glob("*.log")]
    assert {name for name, said in logs if said} >= {"worker.log", "callback.log", "beat.log", "flower.log"}
    none(leaks(place, logs))


def test_no_page_and_no_answer_of_flower_s_holds_one(place: Place) -> None:
    with place.pages() as pages:
        found = dict(flower_answers(pages))
    assert any("Configuration options" in page for page in found.values()), "workers were inspected"
    assert any("FAILURE" in page for page in found.values())
    none(leaks(place, found.items()))


def test_no_import_says_one(place: Place) -> None:
    codes = {
        words.rpartition("/")[2]: said.splitlines()[0]
        for words, said in place.said.items()
        if "import" in words
    }
    assert codes["accounts.jsonl"] == "exit code 0"
    assert {codes[name] for name in codes if name.startswith("bad")} <= {"exit code 1", "exit code 2"}
    none(leaks(place, place.said.items()))


def test_no_command_shows_one(place: Place) -> None:
    said = run(place.fleet.environment, everyday_commands(place))
    assert "exit code 0" in said["-v accounts list"]
    none(leaks(place, said.items()))


def everyday_commands(place: Place) -> list[tuple[str, ...]]:
    both = [
        ("explain", "echo"),
        *[("accounts", "list"), ("accounts", "show", "jwt"), ("accounts", "show", "wm")],
        *[("status",), ("doctor",), ("keys", "list"), ("callbacks", "list"), ("token", "ok")],
    ]
    return [
        *[("-v", *words, *flags) for words in both for flags in ((), ("--json",))],
        *[("history", account, "--json") for account in place.accounts],
        *[("history", account) for account in ("ok", "echo", "page", "raises-told", "dpop", "prints-new")],
        ("refresh", "ok", "echo", "refused", "tells", "--force", "--wait", "--timeout", "60", "--json"),
        ("callbacks", "test", "tells", "--account", "tells", "--json"),
        ("callbacks", "test", "raises-told", "--account", "raises-told"),
        ("callbacks", "test", "prints-new", "--account", "prints-new"),
        ("accounts", "edit", "ok", "session_timeout_s=60"),
        ("accounts", "export"),
        ("accounts", "export", "--format", "csv"),
        *[
            ("providers", "show", "google"),
            ("audit",),
            ("webhooks", "list"),
            ("pause",),
            ("exporter", "--once"),
        ],
    ]


def celery(place: Place, *words: str) -> str:
    """Run Celery's own command line in the fleet's environment: it signs what it sends."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker.app", *words],
        env=place.fleet.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("words", [["report"], ["inspect", "conf"]])
def test_celery_s_own_commands_show_none(place: Place, words: list[str]) -> None:
    none(leaks(place, [(" ".join(words), celery(place, *words))]))


SPELT: Final[dict[str, Callable[[str], str]]] = {
    "as it is": lambda secret: secret,
    "in a URL": lambda secret: quote(secret, safe=""),
    "in JSON": lambda secret: json.dumps({"a": json.dumps(secret)}),
    "in base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "in base64 of more": lambda secret: base64.b64encode(f"client:{secret}@host".encode()).decode(),
    "in base64 of URLs": lambda secret: base64.urlsafe_b64encode(f"??{secret}>>".encode()).decode(),
    "in base64, in lines": lambda secret: base64.encodebytes(f"{'x' * 50}{secret}".encode()).decode(),
    "in hex": lambda secret: secret.encode().hex(),
}


@pytest.mark.parametrize("spelling", SPELT)
def test_the_search_finds_each_spelling(spelling: str) -> None:
    markers = Markers()
    secret = markers.text("planted")
    assert markers.find("here", f"before {SPELT[spelling](secret)} after")
    assert not markers.find("here", f"before {SPELT[spelling]('another secret that is long enough')} after")


def test_the_search_finds_what_redis_holds_in_each_of_its_types(redis_url: str) -> None:
    markers, client = Markers(), connect(redis_url)
    client.set("string", markers.text("string"))
    client.hset("hash", mapping={"field": markers.text("hash"), markers.text("hash_field"): "x"})
    client.rpush("list", "x", markers.text("list"))
    client.sadd("set", markers.text("set"))
    client.zadd("zset", {markers.text("zset"): 1})
    client.xadd("stream", {"field": markers.text("stream")})
    client.set(markers.word("key"), "x")
    client.close()
    found = {leak.marker for where, content in redis_keys(redis_url) for leak in markers.find(where, content)}
    assert found == set(markers.words.values())


def test_the_search_finds_what_stands_in_any_table(sqlite_url: str) -> None:
    markers, engine = Markers(), make_engine(sqlite_url)
    metadata = MetaData()
    metadata.reflect(engine)
    numbers = count(1)
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        for table in metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, String | LargeBinary):
                    values: dict[str, object] = {
                        one.name: next(numbers) for one in table.columns if not one.nullable
                    }
                    values[column.name] = markers.word(f"{table.name}_{column.name}")
                    marks = ", ".join("?" for _ in values)
                    statement = f'INSERT INTO "{table.name}" ({", ".join(values)}) VALUES ({marks})'  # noqa: S608
                    connection.exec_driver_sql(statement, tuple(values.values()))
    found = {leak.marker for where, content in table_columns(engine) for leak in markers.find(where, content)}
    engine.dispose()
    assert len(found) > 20
    assert found == set(markers.words.values())


def test_the_search_finds_what_flower_shows_and_what_a_process_logs(place: Place) -> None:
    planted = Markers()
    account = planted.word("argument")
    message = json.dumps({"accounts": [[account, 1]], "reason": "because"})
    celery(place, "call", "refreshd.refresh", "--kwargs", message, "--queue", "refresh")
    with place.pages() as pages:
        wait_until(lambda: account in pages.get("/api/tasks").text, "Flower has seen the task")
        found = [leak for where, content in flower_answers(pages) for leak in planted.find(where, content)]
    assert {re.sub(r"[0-9a-f-]{36}", "ID", leak.where) for leak in found} >= {
        *("Flower /api/tasks", "Flower /task/ID", "Flower /api/task/info/ID"),
    }
    wait_until(
        lambda: bool(planted.find("log", place.fleet.members["worker"].said)), "a worker logs it at DEBUG"
    )


#: Each asks the database, Redis or both.
WHILE_AWAY: Final = (
    ("-v", "status"),
    ("explain", "ok"),
    ("refresh", "ok", "--force"),
    ("exporter", "--once"),
)


def test_a_database_and_a_redis_that_are_away_show_no_password(
    place: Place, planted_redis: RedisServer, postgres_service: PostgresServer
) -> None:
    """The last one here: what the fleet says in an outage, and what commands, Flower's pages and its API say."""
    said: dict[str, str] = {}
    with locked_out(postgres_service):
        refused_in_log(place, "is not permitted to log in", "worker")
        said |= {f"no database: {words}": answer for words, answer in run_away(place).items()}
    with place.pages() as pages:
        said |= dict(flower_answers(pages))
    assert any("is not permitted to log in" in answer for answer in said.values())
    planted_redis.stop()
    try:
        refused_in_log(place, "Connection refused", "worker", "beat")
        said |= {f"no Redis: {words}": answer for words, answer in run_away(place).items()}
    finally:
        planted_redis.start()
    assert any(
        "Connection refused" in answer for words, answer in said.items() if words.startswith("no Redis")
    )
    said |= {path.name: path.read_text(errors="replace") for path in place.fleet.folder.glob("*.log")}
    none(leaks(place, said.items()))


@contextmanager
def locked_out(postgres: PostgresServer) -> Iterator[None]:
    """Have the database refuse whoever comes with the planted password, and end who is there."""
    role = sql.Identifier(ROLE)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(role))
        try:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [ROLE]
            )
            yield
        finally:
            connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(role))


def refused_in_log(place: Place, words: str, *members: str) -> None:
    for name in members:
        wait_until(lambda name=name: words in place.fleet.members[name].said, f"{name} says: {words}")  # type: ignore[misc]


def run_away(place: Place) -> dict[str, str]:
    said = run(place.fleet.environment, WHILE_AWAY)
    assert not any("Traceback" in answer for answer in said.values()), said
    return said
