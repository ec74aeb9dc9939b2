"""Many rows in one request, a result a line; clients; a grant that is tried first."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from models.tables.api_key import ApiScope
from models.tables.audit import Actor
from tests.integration.api.conftest import Desk
from worker.api import key_cache
from worker.api.routes import batch
from worker.db.intake.api_keys import ApiKeys

NDJSON = {"content-type": "application/x-ndjson"}


def _row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"acct-{number}",
        "provider": "acme",
        "token_url": "https://provider.example/token",
        "client_id": "client",
        "client_secret": "s",
        "refresh_token": f"r-{number}",
        **more,
    }


def _lines(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_rows_are_answered_in_their_order_whatever_is_wrong_with_some(desk: Desk) -> None:
    rows = [
        json.dumps(_row(0)),
        "",
        "{",
        json.dumps(_row(1, session_managment="auto")),
        json.dumps(_row(2)),
        "[1]",
        json.dumps(_row(0)),
    ]
    async with desk.client(ApiScope.ACCOUNTS_WRITE) as client:
        answer = await client.post("/v1/accounts:batch", headers=NDJSON, content="\n".join(rows))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    found = _lines(answer)
    assert [(one["line"], one["account"], one["outcome"]) for one in found] == [
        (1, "acct-0", "added"),
        (3, None, "failed"),
        (4, "acct-1", "failed"),
        (5, "acct-2", "added"),
        (6, None, "failed"),
        (7, "acct-0", "failed"),  # an id twice in one chunk, as in one file
    ]
    assert found[2]["errors"][0]["field"] == "session_managment"


async def test_a_body_that_comes_in_pieces_is_read_in_lines(desk: Desk) -> None:
    text = "".join(f"{json.dumps(_row(number))}\n" for number in range(60)).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(text), 777):
            yield text[start : start + 777]

    batch_chunk, batch.CHUNK_ROWS = batch.CHUNK_ROWS, 7  # type: ignore[misc]
    try:
        async with desk.client() as client:
            answer = await client.post("/v1/accounts:batch", headers=NDJSON, content=pieces())
    finally:
        batch.CHUNK_ROWS = batch_chunk  # type: ignore[misc]
    found = _lines(answer)
    assert [one["line"] for one in found] == list(range(1, 61))
    assert {one["outcome"] for one in found} == {"added"}


async def test_a_key_that_is_revoked_meanwhile_stores_no_further_rows(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "FRESH_S", 0.0)
    monkeypatch.setattr(batch, "CHUNK_ROWS", 1)
    monkeypatch.setattr(batch, "CHUNKS_AT_ONCE", 1)

    async def pieces() -> AsyncIterator[bytes]:
        for number in (0, 1):
            yield f"{json.dumps(_row(number))}\n".encode()
        # The second row was taken up, so the first is stored.
        ApiKeys(desk.bench.runtime.engine).revoke("writer", actor=Actor("test", "test"))
        yield f"{json.dumps(_row(2))}\n".encode()

    async with desk.client(name="writer") as client:
        answer = await client.post("/v1/accounts:batch", headers=NDJSON, content=pieces())
    found = _lines(answer)
    assert (found[0]["account"], found[0]["outcome"]) == ("acct-0", "added")
    assert "not a valid API key" in found[-1]["errors"][0]["reason"]
    async with desk.client() as client:
        assert (await client.get("/v1/accounts/acct-2")).status_code == 404


async def test_a_line_that_is_too_long_fails_alone(desk: Desk) -> None:
    long = json.dumps(_row(1, scope="x" * (batch.LINE_MAX + 10)))
    async with desk.client() as client:
        answer = await client.post(
            "/v1/accounts:batch", headers=NDJSON, content=f"{long}\n{json.dumps(_row(2))}\n"
        )
    assert [one["outcome"] for one in _lines(answer)] == ["failed", "added"]


async def test_what_a_key_with_a_label_brings_gets_the_label(desk: Desk) -> None:
    async with desk.client(labels={"tenant": "acme"}) as client:
        answer = await client.post("/v1/accounts:batch", headers=NDJSON, content=json.dumps(_row(1)))
        assert _lines(answer)[0]["outcome"] == "added", answer.text
        assert (await client.get("/v1/accounts/acct-1")).json()["labels"] == {"tenant": "acme"}


async def test_a_client_is_made_used_changed_and_removed(desk: Desk) -> None:
    fields = {
        "provider": "acme",
        "client_id": "c-1",
        "client_secret": "mksecret",
        "token_url": "https://provider.example/token",
        "return_urls": ["https://app.example/done"],
    }
    async with desk.client(ApiScope.ADMIN) as client, desk.client(ApiScope.ADMIN, labels={"a": "b"}) as bound:
        made = await client.put("/v1/clients/acme-1", json=fields)
        assert (made.status_code, made.json()["outcome"]) == (201, "added"), made.text
        shown = (await client.get("/v1/clients/acme-1")).json()
        assert (shown["has_secret"], shown["accounts"], shown["return_urls"]) == (
            True,
            0,
            ["https://app.example/done"],
        )
        assert "mksecret" not in str(shown)
        account = {"client": "acme-1", "refresh_token": "r"}
        assert (await client.put("/v1/accounts/acct-1", json=account)).status_code == 201
        used = await client.delete("/v1/clients/acme-1")
        assert used.status_code in {409, 422}, used.text
        assert (await client.get("/v1/accounts?client=acme-1")).json()["accounts"][0]["id"] == "acct-1"
        await client.delete("/v1/accounts/acct-1")
        assert (await client.delete("/v1/clients/acme-1")).status_code == 200
        assert (await client.get("/v1/clients/acme-1")).status_code == 404
        assert (await bound.get("/v1/clients")).status_code == 403


async def test_a_grant_that_the_provider_refuses_is_answered_with_the_verdict_and_not_stored(
    desk: Desk,
) -> None:
    desk.bench.add("acct-1")
    desk.bench.answer = lambda _: httpx.Response(400, json={"error": "invalid_grant"})
    async with desk.client() as client:
        refused = await client.put(
            "/v1/accounts/acct-1/grant", json={"access_token": "a", "refresh_token": "b", "verify": True}
        )
        assert refused.status_code == 422, refused.text
        assert refused.json()["type"] == "/docs#problem-refused-by-provider"
        assert refused.json()["verdict"] == "reauthorize"
        assert refused.json()["errors"][0]["field"] == "refresh_token"
        assert desk.bench.account("acct-1").generation == 1
        desk.bench.answer = lambda _: httpx.Response(401, json={"error": "invalid_client"})
        of_the_client = await client.put(
            "/v1/accounts/acct-1/grant", json={"access_token": "a", "refresh_token": "b", "verify": True}
        )
        assert of_the_client.json()["errors"][0]["field"] == "client"
        desk.bench.answer = lambda _: httpx.Response(200, json={"access_token": "c", "expires_in": 60})
        stored = await client.put(
            "/v1/accounts/acct-1/grant", json={"access_token": "a", "refresh_token": "b", "verify": True}
        )
    assert stored.status_code == 200, stored.text
    assert stored.json()["published"] is True
