"""Addresses that no library reads are the row's mistake, and no other row's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.api.conftest import Desk
from worker.accounts.apply import Applier
from worker.connect import preparing  # noqa: F401  (its op is known once imported)

ODD = [
    "https://xn--a.com/",
    "https://[::1",
    "https://evil.example:99999/",
    f"https://{'a' * 300}.com/",
    "https://e\u2100x.com/",
    "https://a[b.example/",
]
ROW: dict[str, Any] = {
    "provider": "acme",
    "client_id": "c",
    "client_secret": "s",
    "token_url": "https://provider.example/token",
}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite: nothing here is the database's."""
    return sqlite_url


@pytest.mark.parametrize("url", ODD)
async def test_address_that_can_t_be_read_is_a_problem_of_its_field(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("REFRESHD_CONNECT_RETURN_URLS", "https://app.example/")
    asked: list[tuple[str, int, str]] = []
    async with desk.client() as client:
        for name in ("token_url", "issuer", "server_url", "resource"):
            row = {**ROW, "refresh_token": "r", name: url}
            if name == "issuer":
                row |= {"provider": "issuer", "token_url": None}
            answer = await client.put(f"/v1/accounts/{name}", json=row)
            asked.append((name, answer.status_code, answer.text))
        for name in ("token_url", "issuer"):
            row = {**ROW, name: url}
            if name == "issuer":
                row |= {"provider": "issuer", "token_url": None}
            answer = await client.put(f"/v1/clients/{name}", json=row)
            asked.append((f"client {name}", answer.status_code, answer.text))
        for name in ("issuer", "resource"):
            wish = {"account": "new", "return_url": "https://app.example/", name: url}
            answer = await client.post("/v1/connect/sessions", json=wish)
            asked.append((f"session {name}", answer.status_code, answer.text))
    # A name that is only too long is one that is not found: an account may have it.
    fine = {422, 200, 201} if "aaa" in url else {422}
    assert [one for one in asked if one[1] not in fine] == []


async def test_row_that_raises_fails_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    applied = Applier.add

    def add(self: Applier, entry: Any, **more: Any) -> Any:
        if entry.id == "bad":
            raise LookupError("a bug of ours")
        return applied(self, entry, **more)

    monkeypatch.setattr(Applier, "add", add)
    rows = [{"id": one, **ROW, "refresh_token": one} for one in ("good-1", "bad", "good-2")]
    rows[1:1] = [{"id": "odd", **ROW, "token_url": ODD[0], "refresh_token": "odd"}]
    async with desk.client() as client:
        answer = await client.post(
            "/v1/accounts:batch",
            content="\n".join(map(json.dumps, rows)),
            headers={"content-type": "application/x-ndjson"},
        )
        assert answer.status_code == 200
        outcomes = [json.loads(line).get("outcome") for line in answer.text.splitlines()][:4]
        assert outcomes == ["added", "failed", "failed", "added"]
        assert "LookupError" in answer.text
        assert "a bug of ours" not in answer.text
