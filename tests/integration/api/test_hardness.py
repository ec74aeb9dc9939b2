"""The API on a real port among clients that mean harm: slow ones, many at once, the same request many times."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
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
from tests.support.waiting import wait_until
from worker.crypto.cipher import generate_key
from worker.settings import Settings

LISTENERS = 3
_ACCOUNT = {"provider": "acme", "token_url": "https://provider.example/token", "client_id": "c"}


@pytest.fixture(scope="module")
def place(
    sqlite_template: Path, redis_service: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Desk]]:
    """A served API, its URL first; bodies may rest for a moment only."""
    folder = tmp_path_factory.mktemp("api")
    database = folder / "refreshd.db"
    database.write_bytes(sqlite_template.read_bytes())
    bench = Bench(
        Settings(
            database_url=SecretStr(f"sqlite:///{database}"),
            redis_url=SecretStr(redis_service.url_of(13)),
            keys=SecretStr(generate_key()),
            data_dir=folder,
        )
    )
    bench.add("acct-1")
    desk = Desk(bench, folder, body_timeout_s=0.3, event_clients=LISTENERS)
    with served(desk.app, desk.context.api) as url:
        yield url, desk
    bench.runtime.close()


def connect(url: str) -> socket.socket:
    place = urlsplit(url)
    return socket.create_connection((str(place.hostname), int(place.port or 80)), timeout=60)


def rest_of(connection: socket.socket) -> bytes:
    found = b""
    while data := connection.recv(65536):
        found += data
    return found


def head(method: str, path: str, key: str, *more: str) -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", *more, "", "")
    return "\r\n".join(lines).encode()


def test_no_more_clients_listen_than_are_served_however_many_come_at_once(place: tuple[str, Desk]) -> None:
    url, desk = place
    asked = head("GET", "/v1/events", desk.key())
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(url)) for _ in range(60)]
        for connection in connections:
            connection.sendall(asked)
        statuses = Counter(connection.recv(13).split()[1] for connection in connections)
    assert statuses == {b"200": LISTENERS, b"429": 60 - LISTENERS}
    wait_until(lambda: desk.context.event_clients == 0, "the places are free again")


def test_a_body_that_comes_byte_by_byte_and_then_rests_is_given_up(place: tuple[str, Desk]) -> None:
    url, desk = place
    with connect(url) as connection:
        connection.sendall(
            head(
                "PUT",
                "/v1/accounts/acct-1/grant",
                desk.key(),
                "Content-Type: application/json",
                "Content-Length: 500",
            )
        )
        for byte in b'{"access_token":':
            connection.sendall(bytes([byte]))
        answer = rest_of(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer


def test_a_line_of_megabytes_fails_alone_and_is_not_kept(place: tuple[str, Desk]) -> None:
    url, desk = place

    def lines() -> Iterator[bytes]:
        yield json.dumps({"id": "line-1", **_ACCOUNT}).encode() + b'\n{"id": "line-2", "x": "'
        for _ in range(64):
            yield b"x" * 65536
        yield b'"}\n' + json.dumps({"id": "line-3", **_ACCOUNT}).encode()

    headers = {"authorization": f"Bearer {desk.key()}", "content-type": "application/x-ndjson"}
    answer = httpx.post(f"{url}/v1/accounts:batch", content=lines(), headers=headers, timeout=60)
    results = [json.loads(line) for line in answer.text.splitlines()]
    assert [(one["line"], one["outcome"] == "failed") for one in results] == [(1, True), (2, True), (3, True)]
    assert "longer than" in results[1]["errors"][0]["reason"]
    assert all("longer than" not in one["errors"][0]["reason"] for one in (results[0], results[2]))


@pytest.mark.parametrize("bad", [b"-1", b"+5", b"0x10", b"5, 5", b"9" * 40])
def test_a_length_that_is_no_length_is_refused(place: tuple[str, Desk], bad: bytes) -> None:
    url, desk = place
    with connect(url) as connection:
        begin = head("PUT", "/v1/accounts/acct-1", desk.key(), "Content-Type: application/json")
        connection.sendall(begin[:-2] + b"Content-Length: " + bad + b"\r\nConnection: close\r\n\r\n{}")
        answer = rest_of(connection)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")), answer[:200]


def test_two_lengths_and_a_length_beside_chunks_are_refused(place: tuple[str, Desk]) -> None:
    """Where a proxy reads the one and the API the other, a request hides in another's body (RFC 9112 section 11.2)."""
    url, desk = place
    hidden = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for framing in (
        f"Content-Length: {len(hidden)}\r\nContent-Length: 2".encode(),
        b"Transfer-Encoding: chunked\r\nContent-Length: 2",
    ):
        with connect(url) as connection:
            begin = head("PUT", "/v1/accounts/acct-1", desk.key(), "Content-Type: application/json")
            connection.sendall(begin[:-2] + framing + b"\r\nConnection: close\r\n\r\n" + hidden)
            answer = rest_of(connection)
        assert answer.startswith(b"HTTP/1.1 400"), (framing, answer[:200])
        assert b"refreshd_api_requests_total" not in answer


async def test_of_one_idempotency_key_that_is_sent_many_times_at_once_one_is_carried_out(
    place: tuple[str, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, desk = place
    sent: list[str] = []

    def send(accounts: Any) -> list[str]:
        sent.extend(one.id for one in accounts)
        return ["task"]

    monkeypatch.setattr("worker.api.routes.refresh.send_forced", send)
    headers = {"authorization": f"Bearer {desk.key()}", "idempotency-key": "once-1"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/accounts/acct-1/refresh", json={"force": True}) for _ in range(30))
        )
        last = await client.post("/v1/accounts/acct-1/refresh", json={"force": True})
    assert sent == ["acct-1"]
    assert {one.status_code for one in answers} <= {202, 409}
    done = [one for one in (*answers, last) if one.status_code == 202]
    assert len({one.text for one in done}) == 1
    assert sum("idempotency-replayed" not in one.headers for one in done) == 1


async def test_grants_of_one_account_that_come_at_once_each_win_once(place: tuple[str, Desk]) -> None:
    """Each is stored as a generation of its own, and Redis has the last one's token."""
    url, desk = place
    desk.bench.add("raced", refresh_token="r-raced")
    headers = {"authorization": f"Bearer {desk.key()}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        answers = await asyncio.gather(
            *(
                client.put(
                    "/v1/accounts/raced/grant",
                    json={"access_token": f"a-{n}", "refresh_token": f"r-raced-{n}", "expires_in": 3600},
                )
                for n in range(20)
            )
        )
        token = (await client.get("/v1/accounts/raced/token")).json()
    assert {one.status_code for one in answers} == {200}
    generations = sorted(one.json()["generation"] for one in answers)
    assert generations == list(range(2, 22))
    assert desk.bench.account("raced").generation == 21
    assert token["generation"] == 21
    last = next(n for n, one in enumerate(answers) if one.json()["generation"] == 21)
    assert token["access_token"] == f"a-{last}"
