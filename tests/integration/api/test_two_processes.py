"""Two API processes on the same stores, and one that is replaced in the middle: nothing is done twice, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from tests.integration.api.conftest import Desk


def client_of(desk: Desk, key: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=desk.transport, base_url="http://api", headers=headers)


async def test_grants_through_two_processes_at_once_are_generations_of_one_account(
    make_desk: Callable[..., Desk],
) -> None:
    one, two = make_desk(), make_desk()
    one.bench.add("raced", refresh_token="r-raced")
    key = one.key()
    async with client_of(one, key) as first, client_of(two, key) as second:
        answers = await asyncio.gather(
            *(
                client.put(
                    "/v1/accounts/raced/grant",
                    json={"access_token": f"a-{n}", "refresh_token": f"r-raced-{n}", "expires_in": 3600},
                )
                for n, client in enumerate([first, second] * 8)
            )
        )
        token = (await second.get("/v1/accounts/raced/token")).json()
    assert {one.status_code for one in answers} == {200}
    assert sorted(one.json()["generation"] for one in answers) == list(range(2, 18))
    last = next(n for n, one in enumerate(answers) if one.json()["generation"] == 17)
    assert (token["generation"], token["access_token"]) == (17, f"a-{last}")


async def test_one_refresh_token_that_two_processes_are_given_for_two_accounts_is_stored_for_one(
    make_desk: Callable[..., Desk],
) -> None:
    one, two = make_desk(), make_desk()
    for name in ("twin-1", "twin-2"):
        one.bench.add(name, refresh_token=f"r-{name}")
    key = one.key()
    grant = {"access_token": "a", "refresh_token": "r-same", "expires_in": 3600}
    async with client_of(one, key) as first, client_of(two, key) as second:
        answers = await asyncio.gather(
            first.put("/v1/accounts/twin-1/grant", json=grant),
            second.put("/v1/accounts/twin-2/grant", json=grant),
        )
    assert sorted(one.status_code for one in answers) == [200, 422]


async def test_a_request_that_is_repeated_at_another_process_gets_the_first_answer(
    make_desk: Callable[..., Desk], monkeypatch: Any
) -> None:
    sent: list[str] = []

    def send(accounts: Any) -> list[str]:
        sent.extend(one.id for one in accounts)
        return ["task"]

    monkeypatch.setattr("worker.api.routes.refresh.send_forced", send)
    one = make_desk()
    one.bench.add("acct-1")
    key, twice = one.key(), {"Idempotency-Key": "twice"}
    async with client_of(one, key) as client:
        first = await client.post("/v1/accounts/acct-1/refresh", json={"force": True}, headers=twice)
    await one.context.aclose()
    two = make_desk()
    async with client_of(two, key) as client:
        again = await client.post("/v1/accounts/acct-1/refresh", json={"force": True}, headers=twice)
    assert (first.status_code, again.status_code, again.text) == (202, 202, first.text)
    assert again.headers["idempotency-replayed"] == "true"
    assert sent == ["acct-1"]


async def test_a_process_that_ends_answers_the_grants_that_it_has_taken_in(
    make_desk: Callable[..., Desk],
) -> None:
    one = make_desk()
    for n in range(12):
        one.bench.add(f"acct-{n}", refresh_token=f"r-{n}")
    async with client_of(one, one.key()) as client:
        asked = [
            asyncio.create_task(
                client.put(
                    f"/v1/accounts/acct-{n}/grant",
                    json={"access_token": f"a-{n}", "refresh_token": f"new-{n}", "expires_in": 3600},
                )
            )
            for n in range(12)
        ]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        await one.context.grants.close()
        answers = await asyncio.gather(*asked)
    assert {one.status_code for one in answers} == {200}
    for n in range(12):
        account = one.bench.account(f"acct-{n}")
        assert (account.generation, account.published_generation) == (2, 2), "stored, published and noted"
