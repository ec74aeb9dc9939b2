"""PostgreSQL over TLS, with `sslmode=verify-full`: who is trusted, who is refused, and what the error says."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.providers.certificates import Authority, Signed
from tests.support.services import PostgresServer, postgres_server
from worker.db.engine import make_engine, reading
from worker.errors import DatabaseUnreachable


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        put(server, "ca.pem", authority.certificate)
        yield server


def put(server: PostgresServer, name: str, text: str) -> None:
    path = server.data / name
    path.write_text(text)
    path.chmod(0o600)
    if server.user:
        shutil.chown(path, server.user)


def shows(server: PostgresServer, signed: Signed, *, asks_client: bool = False) -> str:
    """Have the server show a certificate; returns the database's URL by the name `localhost`."""
    put(server, "server.crt", signed.certificate)
    put(server, "server.key", signed.key)
    put(server, "postgresql.auto.conf", "ssl = on\nssl_ca_file = 'ca.pem'\n")
    demand = " clientcert=verify-ca" if asks_client else ""
    rules = f"local all all scram-sha-256\nhostssl all all all scram-sha-256{demand}\n"
    put(server, "pg_hba.conf", rules + "hostnossl all all 127.0.0.1/32 scram-sha-256\n")
    server.stop()
    server.start()
    return server.url.replace("127.0.0.1", "localhost")


def works(url: str) -> None:
    engine = make_engine(url)
    try:
        with reading(engine) as connection:
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert connection.exec_driver_sql(query).scalar_one() is True
    finally:
        engine.dispose()


def test_the_authority_that_the_url_names_is_trusted_and_no_other(
    server: PostgresServer, authority: Authority, tmp_path: Path
) -> None:
    url = shows(server, authority.sign("localhost"))
    right, wrong = tmp_path / "ca.pem", tmp_path / "other.pem"
    right.write_text(authority.certificate)
    wrong.write_text(Authority("another").certificate)
    works(f"{url}?sslmode=verify-full&sslrootcert={right}")
    with pytest.raises(DatabaseUnreachable, match=r"certificate verify failed.*sslrootcert=FILE"):
        works(f"{url}?sslmode=verify-full&sslrootcert={wrong}")


@pytest.mark.parametrize(
    ("host", "ends_in", "says"),
    [
        ("localhost", timedelta(days=-1), "certificate"),
        ("other.example.com", timedelta(days=1), "does not match host name"),
    ],
    ids=["expired", "another host"],
)
def test_a_certificate_that_does_not_hold_is_refused(
    server: PostgresServer, authority: Authority, tmp_path: Path, host: str, ends_in: timedelta, says: str
) -> None:
    url = shows(server, authority.sign(host, ends_in=ends_in))
    (tmp_path / "ca.pem").write_text(authority.certificate)
    with pytest.raises(DatabaseUnreachable, match=says):
        works(f"{url}?sslmode=verify-full&sslrootcert={tmp_path / 'ca.pem'}")


def test_a_client_certificate_is_shown(server: PostgresServer, authority: Authority, tmp_path: Path) -> None:
    url = shows(server, authority.sign("localhost"), asks_client=True)
    shown = authority.sign("worker")
    for name, text in {
        "ca.pem": authority.certificate,
        "w.pem": shown.certificate,
        "w.key": shown.key,
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    url += f"?sslmode=verify-full&sslrootcert={tmp_path / 'ca.pem'}"
    with pytest.raises(DatabaseUnreachable, match="certificate"):
        works(url)
    works(f"{url}&sslcert={tmp_path / 'w.pem'}&sslkey={tmp_path / 'w.key'}")
