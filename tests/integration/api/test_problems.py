"""What goes wrong is a problem (RFC 9457), whoever notices it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from tests.integration.api.conftest import Desk
from worker.api.context import ApiContext
from worker.intake.requests import Op
from worker.log import configure_logging
from worker.redis.client import CONNECTIONS_MAX

_JSON = {"content-type": "application/json"}
#: method, path, headers, body, status, type
CASES: list[tuple[str, str, dict[str, str], bytes | None, int, str]] = [
    ("GET", "/v1/nothing", {}, None, 404, "not-found"),
    ("GET", "/v1/accounts/absent", {}, None, 404, "not-found"),
    ("GET", "/v1/accounts/", {}, None, 404, "not-found"),
    ("POST", "/v1/accounts", {}, None, 405, "method-not-allowed"),
    ("OPTIONS", "/v1/accounts", {}, None, 405, "method-not-allowed"),
    ("TRACE", "/v1/accounts", {}, None, 405, "method-not-allowed"),
    ("PUT", "/v1/accounts/a", _JSON, b"{", 400, "malformed"),
    ("PUT", "/v1/accounts/a", _JSON, b"\xff", 400, "malformed"),
    ("PUT", "/v1/accounts/a", _JSON, b"[1]", 400, "malformed"),
    ("PUT", "/v1/accounts/a", _JSON, b'{"a": NaN}', 400, "malformed"),
    ("PUT", "/v1/accounts/a", _JSON, b'{"expires_in": 1e999}', 400, "malformed"),
    ("PUT", "/v1/accounts/a", _JSON, b'{"a": 1, "a": 2}', 400, "malformed"),
    ("PUT", "/v1/accounts/a", _JSON, b'{"a": "\\ud800"}', 400, "malformed"),
    ("PUT", "/v1/accounts/a", _JSON, b"", 400, "malformed"),
    ("PUT", "/v1/accounts/a", {"content-type": "text/plain"}, b"{}", 415, "unsupported-media-type"),
    ("PUT", "/v1/accounts/a%20b", _JSON, b"{}", 422, "invalid"),
    ("PUT", "/v1/accounts/a", _JSON, b'{"id": "b"}', 422, "invalid"),
    ("PUT", "/v1/accounts/a/grant", _JSON, b'{"verify": "yes"}', 422, "invalid"),
    ("GET", "/v1/accounts?limit=0", {}, None, 422, "invalid"),
    ("GET", "/v1/accounts?status=nothing", {}, None, 422, "invalid"),
    ("GET", "/v1/accounts?cursor=%00", {}, None, 422, "invalid"),
    ("GET", "/v1/accounts?provider=%00", {}, None, 422, "invalid"),
    ("GET", "/v1/accounts?label.a%20b=c", {}, None, 422, "invalid"),
    ("GET", "/v1/accounts?tenant=acme", {}, None, 422, "invalid"),
    ("GET", "/v1/accounts/absent?label.a=b", {}, None, 422, "invalid"),
    ("DELETE", "/v1/accounts/absent?revok=true", {}, None, 422, "invalid"),
    ("PUT", "/v1/accounts/a?dry_run=true", _JSON, b"{}", 422, "invalid"),
    ("PUT", "/v1/accounts/a/grant?verify=true", _JSON, b"{}", 422, "invalid"),
    ("POST", "/v1/accounts/a/refresh?force=true&wait_s=5", {}, None, 422, "invalid"),
    ("POST", "/v1/accounts:batch?replace_token=true", _JSON, b"{}", 422, "invalid"),
    ("GET", "/v1/clients?limit=1", {}, None, 422, "invalid"),
    ("POST", "/v1/connect/sessions?client=a", _JSON, b"{}", 422, "invalid"),
    ("GET", "/v1/accounts?changed_since=NaN", {}, None, 422, "invalid"),
    ("POST", "/v1/accounts/a/refresh", _JSON, b'{"force": 1}', 422, "invalid"),
    ("POST", "/v1/accounts/a/refresh", _JSON, b'{"wait_s": 1e9}', 422, "invalid"),
    ("POST", "/v1/accounts/a/token/rejected", _JSON, b"{}", 422, "invalid"),
    ("POST", "/v1/accounts:batch", _JSON, b"{}", 415, "unsupported-media-type"),
    ("GET", "/v1/connect/sessions/cs_x", {}, None, 404, "not-found"),
    ("GET", "/v1/events", {"last-event-id": "x"}, None, 422, "invalid"),
]


@pytest.mark.parametrize(("method", "path", "headers", "body", "status", "kind"), CASES)
async def test_what_cannot_be_done_is_a_problem(
    desk: Desk, method: str, path: str, headers: dict[str, str], body: bytes | None, status: int, kind: str
) -> None:
    async with desk.client() as client:
        answer = await client.request(method, path, headers=headers, content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
        answer.text
    )
    problem = answer.json()
    assert problem["type"] == f"/docs#problem-{kind}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    if status == 422:
        assert all(one["field"] and one["reason"] for one in problem["errors"])
    if status == 405:
        assert answer.headers["allow"]


async def test_a_mistyped_parameter_removes_nothing(desk: Desk) -> None:
    desk.bench.add("acct-1")
    async with desk.client() as client:
        mistyped = await client.delete("/v1/accounts/acct-1?revok=true")
        there = await client.get("/v1/accounts/acct-1")
        in_the_query = await client.post("/v1/accounts/acct-1/refresh?force=true")
    assert mistyped.json()["errors"][0]["reason"] == "an unknown parameter; known: revoke"
    assert there.status_code == 200
    assert in_the_query.json()["detail"].endswith("known: none; fields belong in the body")


async def test_a_field_that_is_unknown_is_called_a_field(desk: Desk) -> None:
    async with desk.client() as client:
        answer = await client.put("/v1/accounts/a", json={"provider": "acme", "client_idd": "x"})
    assert answer.json()["errors"][0]["reason"].startswith("unknown field; did you mean 'client_id'")


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(desk: Desk) -> None:
    async with desk.client() as client:
        told = await client.put(
            "/v1/accounts/a", headers=_JSON | {"content-length": str(2**21)}, content=b"{}"
        )
        found = await client.put("/v1/accounts/a", headers=_JSON, content=_endless(b'{"a": "', 2**21))
    assert [told.status_code, found.status_code] == [413, 413]


async def test_deep_nesting_and_long_numbers_are_refused(desk: Desk) -> None:
    async with desk.client() as client:
        for body in (b'{"a": ' + b"[" * 100_000, b'{"a": ' + b"1" * 10_000 + b"}"):
            answer = await client.put("/v1/accounts/a", headers=_JSON, content=body)
            assert answer.status_code == 400, answer.text


async def test_a_defect_is_a_problem_that_shows_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("mkinsidethedefect")

    monkeypatch.setattr("worker.api.routes.accounts.account_full", broken)
    desk.bench.add("acct-1")
    async with desk.client() as client:
        answer = await client.get("/v1/accounts/acct-1", headers={"x-request-id": "mine-1"})
    assert (answer.status_code, answer.json()["type"]) == (500, "/docs#problem-defect")
    assert answer.headers["x-request-id"] == "mine-1"
    shown = capsys.readouterr()
    assert "mkinsidethedefect" not in answer.text + shown.out + shown.err


@pytest.mark.parametrize("target", ["PUT /v1/accounts/a/grant", "POST /v1/accounts:batch"])
async def test_a_client_that_goes_away_is_no_defect(
    desk: Desk, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    configure_logging("DEBUG")
    method, _, path = target.partition(" ")
    kind = b"application/x-ndjson" if path.endswith(":batch") else b"application/json"
    headers = [(b"authorization", f"Bearer {desk.key()}".encode()), (b"content-type", kind)]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    comes: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return comes.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await desk.app(scope, receive, send)
    await asyncio.sleep(0)  # a line of the log is written with the next turn of the loop

    logged = capsys.readouterr().err
    assert sent == []
    assert "api_failed" not in logged
    assert '"status": 499' in logged
    counted = desk.app.state.metrics.exposed().decode()
    assert 'status="499"' in counted
    assert 'status="500"' not in counted


async def test_every_answer_has_the_headers_that_browsers_are_kept_out_by(desk: Desk) -> None:
    async with desk.client() as client:
        answers = [
            await client.get(path, headers={"origin": "https://elsewhere.example"})
            for path in ("/v1/accounts", "/v1/nothing", "/healthz", "/docs")
        ]
    for answer in answers:
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_head_is_answered_as_get_without_a_body(desk: Desk) -> None:
    async with desk.stranger() as client:
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
            answer = await client.head(path)
            assert (answer.status_code, answer.content) == (200, b""), path


async def test_a_store_that_is_away_is_a_503_that_names_no_host(desk: Desk) -> None:
    desk.context.async_redis.connection_pool.connection_kwargs["port"] = 1
    desk.bench.add("acct-1")
    async with desk.client() as client:
        await desk.context.async_redis.connection_pool.disconnect()
        answer = await client.get("/v1/accounts/acct-1/token")
        ready = await client.get("/readyz")
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"] == "5"
    assert "127.0.0.1" not in answer.text + ready.text
    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "ok")


async def test_pages_of_the_process_itself(desk: Desk) -> None:
    async with desk.stranger() as client:
        document = (await client.get("/openapi.json")).json()
        page = (await client.get("/docs")).text
        ready = await client.get("/readyz")
        metrics = (await client.get("/metrics")).text
    assert document["openapi"].startswith("3.1")
    assert {one for one in document["paths"] if one.startswith("/v1")} >= {
        "/v1/accounts",
        "/v1/accounts/{id}/grant",
        "/v1/accounts:batch",
        "/v1/events",
        "/v1/clients/{name}",
    }
    assert ready.json() == {"status": "ok", "checks": {"database": "ok", "redis": "ok", "intake_key": "ok"}}
    assert 'refreshd_api_requests_total{method="GET",route="/docs",status="200"} 1.0' in metrics
    assert "//" not in page.replace("https://host", "").split("<body>")[0]
    assert "<script" not in page
    assert "src=" not in page


async def _endless(first: bytes, size: int) -> Any:
    yield first
    for _ in range(size // 65536):
        yield b"x" * 65536


async def test_requests_that_wait_for_workers_take_no_connection_from_what_is_published(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.api.context.celery_app", lambda: None)
    monkeypatch.setattr("worker.intake.client.send_with", lambda _app: lambda _sealed, _id: None)
    here = ApiContext(desk.settings, desk.context.api)
    workers, redis = here.workers, here.async_redis
    asks = [
        asyncio.create_task(workers.ask(Op.PUT_CLIENT, actor="test", require_labels={}, payload={}))
        for _ in range(CONNECTIONS_MAX)
    ]
    try:
        async with asyncio.timeout(30):
            while (await desk.context.async_redis.info("clients"))["blocked_clients"] < CONNECTIONS_MAX:
                await asyncio.sleep(0.05)
        async with asyncio.timeout(2):
            assert await redis.ping()
    finally:
        for ask in asks:
            ask.cancel()
        await asyncio.gather(*asks, return_exceptions=True)
        await here.aclose()
