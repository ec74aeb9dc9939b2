"""A password of PostgreSQL's that changes: a command prints it, and connections go on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url
from structlog.testing import capture_logs

from tests.support.services import PostgresServer
from worker.context import AppContext
from worker.crypto.cipher import generate_key
from worker.db.engine import current_revision
from worker.db.migrate import upgrade
from worker.db.postgresql import password
from worker.db.postgresql.password import DatabasePassword, password_of
from worker.errors import DatabaseUnreachable
from worker.settings import Settings

ROLE = "rotating"


class Role:
    """A role whose password is in a file, which a command prints and counts."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self._server = server
        self._file = folder / "password"
        self._calls = folder / "calls"
        self._calls.touch()
        program = folder / "print_password.py"
        program.write_text(
            f"import pathlib\nopen({str(self._calls)!r}, 'a').write('x')\n"
            f"print(pathlib.Path({str(self._file)!r}).read_text())\n"
        )
        self.command = f"'{sys.executable}' '{program}'"
        self.rotate("first")

    def rotate(self, to: str) -> None:
        self.alter(to)
        self._file.write_text(to)

    def alter(self, to: str) -> None:
        """Change the password where only the server knows of it."""
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            connection.execute(f"ALTER ROLE {ROLE} PASSWORD '{to}'".encode())

    def forget(self) -> None:
        self._file.unlink()

    @property
    def calls(self) -> int:
        return len(self._calls.read_text())


@pytest.fixture
def role(postgres_service: PostgresServer, tmp_path: Path) -> Iterator[Role]:
    with psycopg.connect(postgres_service.url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {ROLE} LOGIN SUPERUSER".encode())
    yield Role(postgres_service, tmp_path)
    with psycopg.connect(postgres_service.url, autocommit=True) as connection:
        connection.execute(f"DROP ROLE {ROLE}".encode())


@pytest.fixture
def here(role: Role, postgres_url: str, tmp_path: Path) -> Iterator[AppContext]:
    url = make_url(postgres_url).set(username=ROLE, password=None).render_as_string()
    settings = Settings(
        database_url=SecretStr(url),
        database_password_command=SecretStr(role.command),
        keys=SecretStr(generate_key()),
        data_dir=tmp_path,
    )
    made = AppContext(settings)
    yield made
    made.close()


def new_connection(here: AppContext) -> None:
    here.engine.dispose()
    assert current_revision(here.engine)


def test_connections_take_what_the_command_prints_and_run_it_seldom(here: AppContext, role: Role) -> None:
    for _ in range(5):
        new_connection(here)
    assert role.calls == 1


def test_a_password_that_changed_a_moment_ago_is_read_again(here: AppContext, role: Role) -> None:
    new_connection(here)
    role.rotate("second")
    new_connection(here)
    assert role.calls == 2


def test_a_password_is_read_again_when_it_is_a_minute_old(
    here: AppContext, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_connection(here)
    monkeypatch.setattr(password, "CACHED_S", 0.0)
    new_connection(here)
    assert role.calls == 2


def test_where_the_command_fails_the_latest_password_goes_on(
    here: AppContext, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password, "CACHED_S", 0.0)
    new_connection(here)
    role.forget()
    with capture_logs() as logs:
        new_connection(here)
    assert {line["event"] for line in logs} == {"database_password_not_read"}


def test_a_wrong_password_is_a_database_that_can_not_be_used(here: AppContext, role: Role) -> None:
    """An answer that arrives meanwhile is put aside, as while the database is away."""
    role.alter("another")
    with pytest.raises(DatabaseUnreachable, match="password authentication failed") as raised:
        new_connection(here)
    assert "first" not in str(raised.value)


def test_the_schema_is_upgraded_with_it(here: AppContext) -> None:
    before, after = upgrade(here.settings.database, password=password_of(here.settings))
    assert before == after


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; sys.exit('no credentials')", "ended with exit code 1: no credentials"),
        ("pass", "printed no password; expected one line of text"),
        ("print('one\\ntwo')", "printed no password; expected one line of text"),
    ],
)
def test_a_command_that_gives_none_is_named(program: str, words: str) -> None:
    source = DatabasePassword(f'"{sys.executable}" -c "{program}"')
    with pytest.raises(DatabaseUnreachable, match=words):
        source.current()
