"""POSTs: refresh, rejected tokens, and requests that are sent twice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from models.tables.api_key import ApiScope
from models.tables.audit import Action
from tests.integration.api.conftest import Desk
from worker.api.routes import refresh as refresh_route
from worker.db.intake.idempotency import Idempotency, Standing
from worker.db.records.audit import AuditTrail


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of accounts that workers were asked to refresh; they are not."""
    ids: list[str] = []

    def send(accounts: Any) -> list[str]:
        ids.extend(one.id for one in accounts)
        return ["task"]

    monkeypatch.setattr(refresh_route, "send_forced", send)
    return ids


async def test_a_refresh_that_is_not_waited_for_is_queued(desk: Desk, sent: list[str]) -> None:
    desk.bench.add("acct-1")
    async with desk.client(ApiScope.ACCOUNTS_WRITE) as client:
        answer = await client.post("/v1/accounts/acct-1/refresh")
    assert answer.status_code == 202
    assert answer.json() == {
        "account": "acct-1",
        "outcome": "queued",
        "reason": "waiting for a worker",
        "generation": 1,
    }
    assert sent == ["acct-1"]
    assert [one.action for one in desk.bench.runtime.audit.own("acct-1", limit=9)] == [Action.REFRESH]


async def test_an_account_that_is_not_due_is_refreshed_by_force_alone(desk: Desk, sent: list[str]) -> None:
    desk.bench.add("acct-1", next_refresh_at=9e9, plan_at=9e9)
    async with desk.client() as client:
        waits = await client.post("/v1/accounts/acct-1/refresh", json={})
        assert (waits.status_code, waits.json()["outcome"]) == (200, "not_due")
        assert sent == []
        forced = await client.post("/v1/accounts/acct-1/refresh", json={"force": True})
    assert (forced.status_code, sent) == (202, ["acct-1"])


async def test_the_outcome_of_a_refresh_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.bench.add("acct-1")
    desk.bench.answer = lambda _: httpx.Response(200, json={"access_token": "new", "expires_in": 60})

    def send(accounts: Any) -> list[str]:
        desk.bench.begin_refresh(*(one.id for one in accounts))
        return ["task"]

    monkeypatch.setattr(refresh_route, "send_forced", send)
    async with desk.client() as client:
        answer = await client.post("/v1/accounts/acct-1/refresh", json={"force": True, "wait_s": 60})
    assert answer.status_code == 200
    assert answer.json() == {
        "account": "acct-1",
        "outcome": "refreshed",
        "reason": "refreshed",
        "generation": 2,
    } | {"reason": answer.json()["reason"]}


async def test_a_request_that_is_sent_twice_is_done_once(desk: Desk, sent: list[str]) -> None:
    desk.bench.add("acct-1")
    headers = {"Idempotency-Key": "one-1"}
    async with desk.client() as client:
        first = await client.post("/v1/accounts/acct-1/refresh", json={"force": True}, headers=headers)
        again = await client.post("/v1/accounts/acct-1/refresh", json={"force": True}, headers=headers)
        other = await client.post("/v1/accounts/acct-1/refresh", json={"force": False}, headers=headers)
        async with desk.client() as colleague:
            theirs = await colleague.post(
                "/v1/accounts/acct-1/refresh", json={"force": True}, headers=headers
            )
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["type"]) == (422, "/docs#problem-key-reused")
    assert theirs.status_code == 202
    assert sent == ["acct-1", "acct-1"]


async def test_a_problem_is_answered_again_as_well(desk: Desk) -> None:
    headers = {"Idempotency-Key": "one-1"}
    async with desk.client() as client:
        first = await client.post("/v1/accounts/absent/refresh", headers=headers)
        desk.bench.add("absent")
        again = await client.post("/v1/accounts/absent/refresh", headers=headers)
    assert (first.status_code, again.status_code) == (404, 404)
    assert again.headers["content-type"] == "application/problem+json"


async def test_the_same_request_at_the_same_time_is_a_conflict(desk: Desk, sent: list[str]) -> None:
    desk.bench.add("acct-1")
    headers = {"Idempotency-Key": "one-1"}
    async with desk.client() as client:
        answers = await asyncio.gather(
            *(
                client.post("/v1/accounts/acct-1/refresh", json={"force": True, "wait_s": 1}, headers=headers)
                for _ in range(3)
            )
        )
    assert sorted(one.status_code for one in answers) == [202, 409, 409]
    assert sent == ["acct-1"]


def test_a_request_whose_process_was_lost_may_begin_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Idempotency(desk.bench.runtime.engine)
    assert table.begin("key", "one", "hash").standing is Standing.NEW
    assert table.begin("key", "one", "hash").standing is Standing.UNDER_WAY
    monkeypatch.setattr("worker.db.intake.idempotency.LOST_AFTER_S", -1.0)
    assert table.begin("key", "one", "hash").standing is Standing.NEW


async def test_a_rejected_token_is_reported_as_connectors_do_and_in_the_audit_trail(desk: Desk) -> None:
    desk.bench.add("acct-1", generation=2)
    async with desk.client(ApiScope.TOKENS_READ, name="reporter") as client:
        await client.post("/v1/accounts/acct-1/token/rejected", json={"generation": 1})  # changes nothing
        answer = await client.post(
            "/v1/accounts/acct-1/token/rejected", json={"generation": 2, "http_status": 403}
        )
    noted = AuditTrail(desk.bench.runtime.engine).own("acct-1", limit=9)
    assert [(one.actor, one.action, json.loads(one.detail)) for one in noted] == [
        ("reporter", "refresh", {"generation": 2, "rejected": 403})
    ]
    assert (answer.status_code, answer.json()["reported"]) == (202, True)
    entries: Any = desk.bench.runtime.redis.xrange(desk.bench.runtime.keys.rejected)
    assert entries[-1][1] == {"account": "acct-1", "generation": "2", "http_status": "403"}
