"""`refreshd_reader.api` against the API on a real port, on SQLite and PostgreSQL, with a Redis."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.tables.api_key import ApiScope
from refreshd_reader import Reader
from refreshd_reader.api import (
    Accounts,
    ApiUnreachable,
    AsyncAccounts,
    Event,
    Forbidden,
    GrantRefused,
    Invalid,
    NotFound,
    NoToken,
    Unauthenticated,
)
from tests.integration.api.conftest import Desk
from tests.integration.api.serving import served
from tests.integration.conftest import Bench
from tests.support.server_process import free_port
from worker.settings import Settings

NEW = {
    "provider": "acme",
    "token_url": "https://provider.example/token",
    "client_id": "client",
    "client_secret": "a-clients-secret",
}


@pytest.fixture
def bench(settings: Settings) -> Iterator[Bench]:
    made = Bench(settings)
    yield made
    made.runtime.close()


@pytest.fixture
def desk(bench: Bench, tmp_path: Path) -> Desk:
    return Desk(bench, tmp_path)


@pytest.fixture
def url(desk: Desk) -> Iterator[str]:
    with served(desk.app, desk.context.api) as address:
        yield address


@pytest.fixture
def accounts(desk: Desk, url: str) -> Iterator[Accounts]:
    with Accounts(url, desk.key()) as made:
        yield made


def grant(number: int) -> dict[str, Any]:
    return {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}", "expires_in": 3600}


def test_an_account_from_its_grant_to_its_end(accounts: Accounts, desk: Desk, redis_url: str) -> None:
    assert accounts.put("acct-1", **NEW, labels={"tenant": "acme"})["outcome"] == "added"
    granted = accounts.put_grant("acct-1", grant(1), scope="crm")
    assert (granted["outcome"], granted["generation"], granted["published"]) == ("connected", 1, True)
    with Reader.from_url(redis_url) as reader:
        read = reader.get("acct-1")
    given = accounts.token("acct-1", min_lifetime_s=60)
    assert (given.access_token, given.generation, given.scope) == ("access-1", 1, "crm")
    assert given == read

    shown = accounts.get("acct-1")
    assert (shown["status"], shown["labels"], shown["scope"]) == ("active", {"tenant": "acme"}, "crm")
    assert shown["has"]["refresh_token"] is True
    assert accounts.patch("acct-1", server_url="https://api.example")["outcome"] == "changed"
    assert accounts.explain("acct-1")["status"] == "active"
    assert [entry["kind"] for entry in accounts.history("acct-1", limit=3)]
    accounts.rejected("acct-1", generation=1)
    reports: Any = desk.bench.runtime.redis.xrange(desk.bench.runtime.keys.rejected)
    assert [fields["account"] for _, fields in reports] == ["acct-1"]
    assert accounts.refresh("acct-1")["outcome"] == "not_due"

    accounts.delete("acct-1")
    with pytest.raises(NotFound):
        accounts.get("acct-1")


def test_a_problem_is_an_exception_that_carries_it(accounts: Accounts, desk: Desk, url: str) -> None:
    with pytest.raises(Invalid) as invalid:
        accounts.put("acct-1", **NEW, scopes="a")
    assert [one.field for one in invalid.value.errors] == ["scopes"]
    with pytest.raises(NotFound):
        accounts.put_grant("nobody", grant(1))
    accounts.put("acct-1", **NEW)
    with pytest.raises(NoToken) as none:
        accounts.token("acct-1")
    assert (none.value.account_status, none.value.reason) == ("reauthorize", "no_grant_yet")

    desk.bench.answer = lambda _: httpx.Response(400, json={"error": "invalid_grant"})
    with pytest.raises(GrantRefused) as refused:
        accounts.put_grant("acct-1", grant(2), verify=True)
    assert refused.value.verdict == "reauthorize"
    assert "refresh-2" not in str(refused.value.members)

    with Accounts(url, desk.key(ApiScope.CONNECT)) as other, pytest.raises(Forbidden):
        other.get("acct-1")
    with Accounts(url, "rk_0123456789abcdef_wrong") as stranger, pytest.raises(Unauthenticated):
        stranger.get("acct-1")
    with Accounts(f"http://127.0.0.1:{free_port()}", "k", retries=0) as away, pytest.raises(ApiUnreachable):
        away.get("acct-1")


def test_lists_go_through_every_page(accounts: Accounts, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refreshd_reader._sync.accounts._PAGE", 2)
    for number in range(5):
        status = "reauthorize" if number % 2 else "active"
        tenant = "acme" if number < 3 else "other"
        desk.bench.add(
            f"acct-{number}", refresh_token=f"r-{number}", status=status, labels=f'{{"tenant": "{tenant}"}}'
        )
    assert [one["id"] for one in accounts.list()] == [f"acct-{number}" for number in range(5)]
    assert [one["id"] for one in accounts.list(labels={"tenant": "other"})] == ["acct-3", "acct-4"]
    assert [one["id"] for one in accounts.reconnectable()] == ["acct-1", "acct-3"]
    assert list(accounts.reconnectable(changed_since=9e9)) == []


def test_a_batch_takes_an_iterable_and_gives_an_iterator(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refreshd_reader.api_wire.ROWS", 3)
    rows: list[dict[str, Any]] = [
        {"id": f"acct-{number}", **NEW, "refresh_token": f"r-{number}"} for number in range(7)
    ]
    rows[4]["scopes"] = "a"
    results = list(accounts.batch(iter(rows)))
    assert [(one["line"], one["account"]) for one in results] == [
        (number + 1, f"acct-{number}") for number in range(7)
    ]
    assert [one["outcome"] for one in results] == [*["added"] * 4, "failed", *["added"] * 2]
    assert results[4]["errors"][0]["field"] == "scopes"


def test_a_session_is_opened_and_asked_after(accounts: Accounts, desk: Desk) -> None:
    desk.bench.add_client("crm", provider="google", return_urls='["https://app.example/connected"]')
    opened = accounts.connect_session(
        "acct-1", "crm", "https://app.example/connected", labels={"tenant": "acme"}, expires_in_s=600
    )
    found = accounts.get_connect_session(opened["id"])
    assert opened["url"].endswith(f"/connect/{opened['id']}")
    assert (found["status"], found["account"], found["labels"]) == ("open", "acct-1", {"tenant": "acme"})
    with pytest.raises(Invalid) as refused:
        accounts.connect_session("acct-1", "crm", "https://elsewhere.example/")
    assert refused.value.errors[0].field == "return_url"


def test_events_come_as_they_happen_and_go_on_where_they_ended(accounts: Accounts, desk: Desk) -> None:
    for number in (1, 2, 3):
        desk.bench.add(f"acct-{number}", refresh_token=f"r-{number}")
        accounts.put_grant(f"acct-{number}", grant(number))
    events = accounts.events(after="0-0")
    first, second = next(events), next(events)
    events.close()  # type: ignore[attr-defined]
    assert [(one.type, one.data["account"]) for one in (first, second)] == [
        ("reconnected", "acct-1"),
        ("reconnected", "acct-2"),
    ]
    assert next(accounts.events(after=first.id)) == second


def test_a_stream_that_is_cut_is_resumed_without_a_gap(desk: Desk, url: str) -> None:
    """The server goes away once, after a client began to listen and before anything happened."""
    begun, cut = threading.Event(), threading.Event()

    class CutsOnce(httpx.HTTPTransport):
        asked: list[str | None] = []  # noqa: RUF012

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            if request.url.path != "/v1/events":
                return response
            self.asked.append(request.headers.get("last-event-id"))
            if len(self.asked) > 1:
                return response
            return httpx.Response(200, stream=_Cut(response))

    class _Cut(httpx.SyncByteStream):
        def __init__(self, response: httpx.Response) -> None:
            self._response = response

        def __iter__(self) -> Iterator[bytes]:
            for part in self._response.iter_bytes():
                yield part
                begun.set()
                cut.wait()
                raise httpx.ReadError("cut")

        def close(self) -> None:
            self._response.close()

    found: list[Event] = []

    def listen() -> None:
        found.append(next(iter(listening.events())))

    with httpx.Client(transport=CutsOnce()) as client:
        listening = Accounts(url, desk.key(), client=client)
        thread = threading.Thread(target=listen)
        thread.start()
        begun.wait()
        desk.bench.add("acct-1")
        with Accounts(url, desk.key()) as other:
            other.put_grant("acct-1", grant(1))
        cut.set()
        thread.join()
    assert [one.data["account"] for one in found] == ["acct-1"]
    assert CutsOnce.asked[0] is None
    assert CutsOnce.asked[1] is not None


async def test_the_asyncio_half_does_the_same(desk: Desk, url: str) -> None:
    rows = [{"id": f"acct-{number}", **NEW, "refresh_token": f"r-{number}"} for number in range(3)]
    async with AsyncAccounts(url, desk.key()) as accounts:
        assert [one["outcome"] async for one in accounts.batch(rows)] == ["added"] * 3
        granted = await asyncio.gather(
            *(accounts.put_grant(f"acct-{number}", grant(number)) for number in range(3))
        )
        assert {one["outcome"] for one in granted} == {"replaced"}
        assert [one["id"] async for one in accounts.list(status="active")] == ["acct-0", "acct-1", "acct-2"]
        assert [one async for one in accounts.reconnectable()] == []
        assert (await accounts.token("acct-2")).access_token == "access-2"
        async for event in accounts.events(after="0-0"):
            assert event.type == "reconnected"
            break
        with pytest.raises(NotFound):
            await accounts.explain("nobody")
