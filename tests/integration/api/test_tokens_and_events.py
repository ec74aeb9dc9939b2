"""Tokens for whoever can't reach Redis, and what happens, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from models.tables.api_key import ApiScope
from models.tables.audit import Actor
from tests.integration.api.conftest import Desk
from worker.api import event_hub, key_cache
from worker.api.auth import Caller
from worker.api.routes import events as route
from worker.db.intake.api_keys import ApiKeys


async def _granted(desk: Desk, account_id: str, **fields: Any) -> None:
    desk.bench.add(account_id, refresh_token=f"r-{account_id}", **fields)
    body = {"access_token": f"access-{account_id}", "refresh_token": f"n-{account_id}", "expires_in": 3600}
    async with desk.client() as client:
        assert (await client.put(f"/v1/accounts/{account_id}/grant", json=body)).status_code == 200


async def test_a_published_token_is_given_out(desk: Desk) -> None:
    await _granted(desk, "acct-1")
    async with desk.client(ApiScope.TOKENS_READ) as client:
        found = (await client.get("/v1/accounts/acct-1/token?min_lifetime_s=60")).json()
        short = await client.get("/v1/accounts/acct-1/token?min_lifetime_s=4000")
    assert (found["access_token"], found["generation"], found["token_type"]) == ("access-acct-1", 2, "Bearer")
    assert (short.status_code, short.json()["reason"]) == (409, "token_too_short")
    assert short.headers["retry-after"] == "1"


async def test_an_account_without_a_token_says_why(desk: Desk) -> None:
    desk.bench.add("acct-1", status="reauthorize", reason="invalid_grant")
    async with desk.client(ApiScope.TOKENS_READ) as client:
        answer = await client.get("/v1/accounts/acct-1/token")
    assert answer.status_code == 409
    assert answer.json()["account_status"] == "reauthorize"
    assert answer.json()["reason"] == "invalid_grant"
    assert answer.json()["detail"].startswith("no token to use: ")


async def test_no_token_is_given_out_unless_it_is_allowed(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(tokens=False)
    await _granted(desk, "acct-1")
    async with desk.client() as client:
        answer = await client.get("/v1/accounts/acct-1/token")
    assert answer.status_code == 403
    assert "access-acct-1" not in answer.text


class Connected:
    """A request whose client stays for so many looks."""

    def __init__(self, looks: int) -> None:
        self._looks = looks

    async def is_disconnected(self) -> bool:
        self._looks -= 1
        return self._looks < 0


async def _read(desk: Desk, caller: Caller, last: str, looks: int = 1) -> list[str]:
    begin = await desk.context.events.newest()
    request: Any = Connected(looks)
    stream: AsyncIterator[str] = route._stream(desk.context, caller, request, begin, last)
    return [part async for part in stream]


def _data(parts: list[str]) -> list[dict[str, Any]]:
    lines = "".join(parts).splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


async def test_events_are_streamed_and_resumed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_hub, "HEARTBEAT_MS", 10)
    await _granted(desk, "acct-1")
    await _granted(desk, "acct-2")
    anyone = desk.caller()
    parts = await _read(desk, anyone, "0-0", looks=2)
    assert parts[0] == ": connected\nid: 0-0\n\n"  # a place, and no event
    assert [(one["type"], one["account"], one["generation"]) for one in _data(parts)] == [
        ("reconnected", "acct-1", 2),
        ("reconnected", "acct-2", 2),
    ]
    ids = [line.removeprefix("id: ") for line in "".join(parts).splitlines() if line.startswith("id: ")]
    assert parts[-1] == f": connected\nid: {ids[-1]}\n\n"  # a heartbeat, as nothing happened
    assert ids[0] == "0-0"
    assert [one["account"] for one in _data(await _read(desk, anyone, ids[1]))] == ["acct-2"]
    assert desk.context.event_clients == 0


async def test_a_key_with_labels_gets_the_events_of_its_accounts_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "HEARTBEAT_MS", 10)
    await _granted(desk, "hers", labels='{"tenant": "acme"}')
    await _granted(desk, "other")
    desk.bench.runtime.redis.xadd(
        desk.bench.runtime.keys.events, {"type": "misconfigured", "client": "c", "reason": "x", "at": "1"}
    )
    found = await _read(desk, desk.caller(labels={"tenant": "acme"}), "0-0")
    assert [one["account"] for one in _data(found)] == ["hers"]


async def test_events_are_those_of_whose_the_account_was_then(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "HEARTBEAT_MS", 10)
    await _granted(desk, "moved", labels='{"tenant": "acme"}')
    await _granted(desk, "gone", labels='{"tenant": "acme"}')
    async with desk.client() as client:
        moved = await client.patch("/v1/accounts/moved", json={"labels": {"tenant": "beta"}})
        gone = await client.delete("/v1/accounts/gone")
        await client.put("/v1/accounts/moved/grant", json={"access_token": "a", "refresh_token": "of-beta"})
    assert (moved.status_code, gone.status_code) == (200, 200)
    events = desk.bench.runtime.keys.events
    for labels in ({}, {"labels": "{"}, {"labels": '["tenant"]'}):  # the first: as an older release wrote it
        entry: dict[Any, Any] = {"type": "refreshed", "account": "moved", "reason": "x", "at": "1", **labels}
        desk.bench.runtime.redis.xadd(events, entry)

    of_acme = _data(await _read(desk, desk.caller(labels={"tenant": "acme"}), "0-0"))
    of_beta = _data(await _read(desk, desk.caller(labels={"tenant": "beta"}), "0-0"))
    of_all = _data(await _read(desk, desk.caller(), "0-0"))

    assert [(one["account"], one["generation"]) for one in of_acme] == [("moved", 2), ("gone", 2)]
    assert [(one["account"], one["generation"]) for one in of_beta] == [("moved", 3)]
    assert len(of_all) == 6


async def test_only_so_many_clients_listen_at_a_time(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(event_clients=1)
    desk.context.event_clients = 1
    async with desk.client() as client:
        answer = await client.get("/v1/events")
        from_the_first = await client.get("/v1/events", headers={"last-event-id": "0"})
    assert answer.status_code == 429
    assert answer.json()["type"] == "/docs#problem-too-many-listeners"
    assert from_the_first.status_code == 429, "0 is a place"


async def test_all_who_listen_share_one_reading_of_the_stream(desk: Desk) -> None:
    anyone = desk.caller()
    begin = await desk.context.events.newest()
    streams: list[AsyncIterator[str]] = [
        route._stream(desk.context, anyone, cast("Any", Connected(2)), begin) for _ in range(2)
    ]
    assert {await anext(one) for one in streams} == {f": connected\nid: {begin.last}\n\n"}

    await _granted(desk, "acct-1")

    assert [[one["account"] for one in _data([await anext(stream)])] for stream in streams] == [
        ["acct-1"]
    ] * 2
    assert await desk.context.events.newest() is begin.next


async def test_a_client_that_reads_too_slowly_is_sent_away_and_goes_on_where_it_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "BEHIND_MAX", 1)
    anyone = desk.caller()
    begin = await desk.context.events.newest()
    looks: Any = Connected(5)
    slow: AsyncIterator[str] = route._stream(desk.context, anyone, looks, begin)
    place = (await anext(slow)).splitlines()[1].removeprefix("id: ")

    for name in ("acct-1", "acct-2"):
        await _granted(desk, name)
        await begin.came.wait()
    while not desk.context.events.is_left_behind(begin):
        await asyncio.sleep(0)

    assert [part async for part in slow] == []
    assert [one["account"] for one in _data(await _read(desk, anyone, place))] == ["acct-1", "acct-2"]


@pytest.mark.parametrize("behind", [True, False])
async def test_a_revoked_key_gets_no_more_events_and_its_stream_ends(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    monkeypatch.setattr(key_cache, "FRESH_S", 0.0)
    caller = desk.caller(name="reader")
    begin = await desk.context.events.newest()
    request: Any = Connected(2)
    stream = route._stream(desk.context, caller, request, begin, begin.last if behind else None)
    await anext(stream)
    await _granted(desk, "before")
    assert "before" in await anext(stream)

    ApiKeys(desk.bench.runtime.engine).revoke("reader", actor=Actor("test", "test"))
    await _granted(desk, "after")

    assert [part async for part in stream] == []


async def test_a_key_that_is_over_ends_its_stream_with_the_next_heartbeat(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "HEARTBEAT_MS", 10)
    parts = await _read(desk, desk.caller(expires_s=0.001), "0-0", looks=9)
    assert parts == [": connected\nid: 0-0\n\n"]
