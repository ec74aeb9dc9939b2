"""deploy/postgresql/roles.sql on a real PostgreSQL: each role does its work, and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors
from pydantic import SecretStr

from models.tables.attempt import Outcome
from tests.deploy.compose_file import ROOT
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from tests.support.services import PostgresServer
from worker.crypto.cipher import generate_key
from worker.db.migrate import upgrade
from worker.settings import Settings

ROLES = ROOT / "deploy/postgresql/roles.sql"
#: With what a URL and a string of SQL would stumble over.
PASSWORD = "it's-a-pass"
DATABASE = "of_roles"


def apply_roles(server: PostgresServer) -> subprocess.CompletedProcess[str]:
    passwords = [f"--set={role}_password={PASSWORD}" for role in ("migrate", "work", "read", "api")]
    return subprocess.run(
        [str(server.binaries / "psql"), "--no-psqlrc", "--quiet", f"--dbname={server.url_of(DATABASE)}", *passwords,
         f"--file={ROLES}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def url_of(server: PostgresServer, role: str) -> str:
    place = urlsplit(server.url_of(DATABASE))
    return f"postgresql://refreshd_{role}:{PASSWORD}@{place.hostname}:{place.port}/{DATABASE}"


@pytest.fixture
def server(postgres_service: PostgresServer) -> Iterator[PostgresServer]:
    """A server whose database was made, given roles, migrated by its owner, and given the views."""
    postgres_service.create_database(DATABASE)
    before = apply_roles(postgres_service)
    assert before.returncode == 0, before.stderr
    upgrade(url_of(postgres_service, "migrate"))
    again = apply_roles(postgres_service)
    assert again.returncode == 0, again.stderr
    yield postgres_service
    postgres_service.drop_database(DATABASE)
    with psycopg.connect(postgres_service.url, autocommit=True) as connection:
        for role in ("migrate", "work", "read", "api"):
            connection.execute(f"DROP ROLE refreshd_{role}")


def test_each_role_does_its_work_and_no_more(server: PostgresServer, redis_url: str, tmp_path: Path) -> None:
    settings = Settings(
        database_url=SecretStr(url_of(server, "work")),
        redis_url=SecretStr(redis_url),
        keys=SecretStr(generate_key("k1")),
        data_dir=tmp_path,
    )
    bench = Bench(settings)
    bench.add()
    bench.answer = granted
    assert bench.refresh()["acct"].outcome == Outcome.REFRESHED
    bench.runtime.close()

    forbidden = {
        "work": (
            "CREATE TABLE mine (id int)",
            "DROP TABLE attempt",
            "ALTER TABLE account ADD COLUMN x int",
            "TRUNCATE account",
            "UPDATE alembic_version SET version_num = '0000'",
        ),
        "read": (
            "UPDATE refreshd_read.account SET status = 'active'",
            "DELETE FROM refreshd_read.attempt",
            "SELECT refresh_token_sealed FROM public.account",
            "SELECT 1 FROM public.account",
            "CREATE TABLE refreshd_read.mine (id int)",
        ),
    }
    for role, statements in forbidden.items():
        for statement in statements:
            with (
                psycopg.connect(url_of(server, role)) as connection,
                pytest.raises(errors.InsufficientPrivilege),
            ):
                connection.execute(statement)

    shown = commands_of_the_reader(server, redis_url, tmp_path)
    assert shown["status"]["accounts"]
    assert shown["explain"]["account"] == "acct"
    assert [entry["outcome"] for entry in shown["history"]] == ["refreshed"]
    with psycopg.connect(url_of(server, "read")) as connection:
        row = connection.execute("SELECT refresh_token_sealed, client_secret_sealed FROM account").fetchone()
    assert row == ("v1.k1.", "v1.k1."), "that there is a value, and its key's id"


def commands_of_the_reader(server: PostgresServer, redis_url: str, folder: Path) -> dict[str, Any]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
    environment = {
        **inherited,
        "REFRESHD_DATABASE_URL": url_of(server, "read"),
        "REFRESHD_REDIS_URL": redis_url,
        "REFRESHD_DATA_DIR": str(folder),
    }
    shown: dict[str, Any] = {}
    for name, *words in (["status"], ["explain", "acct"], ["history", "acct"]):
        ran = subprocess.run(
            [sys.executable, "-m", "worker.cli", name, *words, "--json"],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not ran.stderr, ran.stderr
        lines = [json.loads(line) for line in ran.stdout.splitlines()]
        shown[name] = lines if name == "history" else lines[0]
    return shown
