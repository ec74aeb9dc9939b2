"""An API process that is killed with grants, a batch, a Connect session and event clients under way; another one goes on."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from models.tables.api_key import ApiScope
from models.tables.audit import Actor
from tests.e2e.conftest import MakeWorld
from tests.support.fleet import ROOT, Fleet
from tests.support.forked import started
from tests.support.waiting import wait_until
from tests.support.world import World
from worker.crypto.cipher import Cipher
from worker.db.accounts.stored import Accounts
from worker.db.intake.api_keys import ApiKeys

CUSTOMERS: Final = [f"customer-{n}" for n in range(8)]
ROWS: Final = 1_500
RETURN_URL: Final = "https://app.example/connected"


class Api:
    """One `refreshd api`, on a port of its own."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        # Both are behind one public address.
        variables = {"REFRESHD_API_PORT": str(port), "REFRESHD_API_URL": "http://127.0.0.1:1"}
        with (fleet.folder / f"{name}.log").open("wb") as log:
            environment = {**fleet.environment, **variables}
            self.process = started(["worker.cli", "api"], cwd=ROOT, env=environment, stdout=log, stderr=log)
        wait_until(self._answers, f"{name} answers")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def client(self, key: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False
        )


@contextmanager
def api(fleet: Fleet, name: str) -> Iterator[Api]:
    made = Api(fleet, name)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def row(n: int, name: str = "row") -> bytes:
    fields = {
        "id": f"{name}-{n}",
        "provider": "generic",
        "client_id": "c",
        "client_secret": "s",
        "token_url": "https://provider.example/token",
        "access_token": f"at-{name}-{n}",
        "refresh_token": f"rt-{name}-{n}",
        "expires_in": 86400,
    }
    return json.dumps(fields).encode() + b"\n"


def grant(account: str, n: int) -> dict[str, Any]:
    return {"access_token": f"at-{account}-{n}", "refresh_token": f"rt-{account}-{n}", "expires_in": 86400}


class Before:
    """What was asked of the process that is killed, and what it answered."""

    def __init__(self) -> None:
        #: Account -> the last grant that was sent, and the generation of the last one that was answered.
        self.sent: dict[str, int] = {}
        self.answered: dict[str, int] = {}
        self.batch_lines = 0
        self.event: str | None = None
        self.session: dict[str, Any] = {}

    async def grants(self, client: httpx.AsyncClient, account: str) -> None:
        for n in range(100_000):
            self.sent[account] = n
            answer = await client.put(f"/v1/accounts/{account}/grant", json=grant(account, n))
            assert answer.status_code == 200, answer.text
            self.answered[account] = answer.json()["generation"]

    async def batch(self, client: httpx.AsyncClient) -> None:
        body = b"".join(row(n) for n in range(ROWS))
        headers = {"Content-Type": "application/x-ndjson"}
        async with client.stream("POST", "/v1/accounts:batch", content=body, headers=headers) as answer:
            async for _ in answer.aiter_lines():
                self.batch_lines += 1
                await asyncio.sleep(0)

    async def events(self, client: httpx.AsyncClient) -> None:
        async with client.stream("GET", "/v1/events") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    self.event = line.removeprefix("id: ")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0)


async def until_killed(one: Api, key: str, wanted: dict[str, Any]) -> Before:
    """Open a session, keep everything else going at once, and kill the process in the middle of it."""
    before = Before()
    async with one.client(key) as client:
        made = await client.put(
            "/v1/clients/app",
            json={
                "provider": "xero",
                "client_id": "id",
                "client_secret": "secret",
                "return_urls": [RETURN_URL],
            },
        )
        assert made.status_code == 201, made.text
        opened = await client.post(
            "/v1/connect/sessions", json=wanted, headers={"Idempotency-Key": "click-1"}
        )
        assert opened.status_code == 201, opened.text
        before.session = opened.json()
        rows = b"".join(row(n, "customer") for n in range(len(CUSTOMERS)))
        headers = {"Content-Type": "application/x-ndjson"}
        assert (await client.post("/v1/accounts:batch", content=rows, headers=headers)).status_code == 200
        works = [before.events(client), *(before.grants(client, account) for account in CUSTOMERS)]
        running = [asyncio.create_task(work) for work in works]
        await until(lambda: len(before.answered) == len(CUSTOMERS) and before.event is not None)
        running.append(asyncio.create_task(before.batch(client)))
        await until(lambda: before.batch_lines > 0)
        one.process.kill()
        found = await asyncio.gather(*running, return_exceptions=True)
        assert all(isinstance(error, httpx.HTTPError) for error in found), found
    return before


async def taken_up_again(two: Api, key: str, before: Before, wanted: dict[str, Any]) -> None:
    async with two.client(key) as client:
        again = await client.post("/v1/connect/sessions", json=wanted, headers={"Idempotency-Key": "click-1"})
        assert (again.status_code, again.json()) == (201, before.session)
        assert again.headers["idempotency-replayed"] == "true"
        session = (await client.get(f"/v1/connect/sessions/{before.session['id']}")).json()
        assert session["status"] == "open"
        await client.get(f"/connect/{before.session['id']}")
        going = await client.post(f"/connect/{before.session['id']}")
        assert "login.xero.com" in going.text

        for account in CUSTOMERS:
            answer = await client.put(
                f"/v1/accounts/{account}/grant", json=grant(account, before.sent[account])
            )
            assert answer.status_code == 200, answer.text
            # The one that was under way was stored or not, never by half, and never one that was answered before.
            assert answer.json()["generation"] - before.answered[account] in {1, 2}

        body = b"".join(row(n) for n in range(ROWS))
        batch = await client.post(
            "/v1/accounts:batch", content=body, headers={"Content-Type": "application/x-ndjson"}
        )
        results = [json.loads(line) for line in batch.text.splitlines()]
        outcomes = [one["outcome"] for one in results]
        assert len(outcomes) == ROWS
        assert set(outcomes) <= {"added", "unchanged"}, [one for one in results if "errors" in one][:3]
        assert outcomes[: before.batch_lines] == ["unchanged"] * before.batch_lines

        async with client.stream("GET", "/v1/events", headers={"Last-Event-ID": str(before.event)}) as events:
            async for line in events.aiter_lines():
                if line.startswith("data: "):  # what happened meanwhile comes first
                    assert json.loads(line.removeprefix("data: "))["type"] in {"reconnected", "connected"}
                    break


def is_whole(world: World, account_id: str, cipher: Cipher, *, access: str, refresh: str) -> bool:
    """Return whether a row and its token in Redis are of one grant."""
    account = Accounts(world.stores.engine).find([account_id])[account_id]
    token = world.stores.redis.hgetall(world.stores.keys.token(account_id))
    return (
        token["access_token"] == access
        and int(token["generation"]) == account.generation
        and cipher.open(str(account.access_token_sealed), account=account_id, field="access_token").reveal()
        == access
        and cipher.open(str(account.refresh_token_sealed), account=account_id, field="refresh_token").reveal()
        == refresh
    )


@pytest.mark.e2e
def test_nothing_is_half_written_and_another_process_takes_all_of_it_up(
    make_world: MakeWorld, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    world = make_world(postgres_url, redis_url, api_requests_per_s="100000")
    _, made = ApiKeys(world.stores.engine).create(
        "platform", scopes=(ApiScope.ADMIN,), labels={}, expires_s=None, actor=Actor("test", "test")
    )
    key = made.to_text()
    wanted = {"account": "connected-1", "client": "app", "return_url": RETURN_URL}
    with Fleet(world.environment, tmp_path) as fleet:
        fleet.worker()
        with api(fleet, "one") as one, api(fleet, "two") as two:
            fleet.wait_ready()
            before = asyncio.run(until_killed(one, key, wanted))
            asyncio.run(taken_up_again(two, key, before, wanted))

    for account in CUSTOMERS:
        last = before.sent[account]
        assert is_whole(
            world,
            account,
            world.stores.cipher,
            access=f"at-{account}-{last}",
            refresh=f"rt-{account}-{last}",
        )
    for n in (0, ROWS // 2, ROWS - 1):
        assert is_whole(world, f"row-{n}", world.stores.cipher, access=f"at-row-{n}", refresh=f"rt-row-{n}")
