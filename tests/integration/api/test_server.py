"""The server on a real port: what is no HTTP, what is too large, what never ends; each harms nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import SecretStr

from tests.integration.api.conftest import Desk
from tests.integration.api.serving import served
from tests.integration.conftest import Bench
from tests.support.services import RedisServer
from worker.api import server
from worker.crypto.cipher import generate_key
from worker.settings import Settings


@pytest.fixture(scope="module")
def desk(
    sqlite_template: Path, redis_service: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    """An API whose bodies may rest for a moment only."""
    folder = tmp_path_factory.mktemp("api")
    database = folder / "refreshd.db"
    database.write_bytes(sqlite_template.read_bytes())
    bench = Bench(
        Settings(
            database_url=SecretStr(f"sqlite:///{database}"),
            redis_url=SecretStr(redis_service.url_of(14)),
            keys=SecretStr(generate_key()),
            data_dir=folder,
        )
    )
    yield Desk(bench, folder, body_timeout_s=0.3)
    bench.runtime.close()


@pytest.fixture(scope="module")
def key(desk: Desk) -> str:
    return desk.key(name="first")


@pytest.fixture(scope="module")
def at(desk: Desk) -> Iterator[str]:
    """The API's URL, served."""
    with served(desk.app, desk.context.api) as url:
        yield url


def sent(url: str, *parts: bytes) -> bytes:
    """Send bytes over a connection of its own; return all that comes back until it is closed."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
        found = b""
        while data := connection.recv(65536):
            found += data
    return found


_GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
_END = b"Connection: close\r\n\r\n"
#: What is sent, and how the answer begins.
HOSTILE: list[tuple[str, bytes, bytes]] = [
    ("no HTTP", b"hello\r\n\r\n", b"HTTP/1.1 400"),
    ("a version that is none", b"GET / HTTP/9.9\r\n\r\n", b"HTTP/1.1 400"),
    ("TLS to a port without", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", b"HTTP/1.1 400"),
    ("one long header", _GET + b"X-A: " + b"a" * 40_000 + b"\r\n" + _END, b"HTTP/1.1 431"),
    ("a long URL", b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n" + _END, b"HTTP/1.1 431"),
    ("many headers", _GET + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 20) for n in range(2000)) + _END, b"HTTP/1.1 431"),
    ("a length that is no number", b"PUT /v1/accounts/a HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 400"),
    ("a path with dots", b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: x\r\n" + _END, b"HTTP/1.1 404"),
    ("a path that is quoted twice", b"GET /v1/accounts/%252e%252e HTTP/1.1\r\nHost: x\r\n" + _END, b"HTTP/1.1 4"),
    ("a header with a quote", _GET + b"Authorization: Bearer rk_'; --\r\n" + _END, b"HTTP/1.1 200"),
    ("an upgrade", _GET + b"Upgrade: websocket\r\nConnection: upgrade, close\r\n\r\n", b"HTTP/1.1 "),
    ("a method that is none", b"BREW /v1/accounts HTTP/1.1\r\nHost: x\r\n" + _END, b"HTTP/1.1 4"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "begins"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE]
)
def test_a_hostile_request_is_refused_and_the_next_one_answered(at: str, data: bytes, begins: bytes) -> None:
    answer = sent(at, data)
    assert answer.startswith(begins), answer[:200]
    assert b"Traceback" not in answer
    assert httpx.get(f"{at}/healthz").json() == {"status": "ok"}


def test_a_body_that_stops_coming_is_given_up(at: str, key: str) -> None:
    # Of a request with a key: without one nothing waits for its body.
    head = b"POST /v1/accounts/a/refresh HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nContent-Type: application/json\r\n"
    answer = sent(at, head + f"Authorization: Bearer {key}\r\n\r\n{{".encode())
    assert answer.startswith(b"HTTP/1.1 408"), answer[:200]
    assert b"no byte of the body came for 0.3 s" in answer


def test_headers_that_stop_coming_are_given_up(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADERS_TIMEOUT_S", 0.2)
    assert sent(at, b"GET /healthz HT") == b""
    assert sent(at, _GET) == b""


def test_a_connection_is_kept_for_the_next_request(at: str) -> None:
    whole = _GET + b"\r\n"
    answer = sent(at, whole + whole, _GET + _END)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert b"\r\nserver:" not in answer.lower()


def test_a_port_that_is_taken_is_named() -> None:
    with server.listening("127.0.0.1", 0) as taken:
        port: Any = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            server.listening("127.0.0.1", port)
