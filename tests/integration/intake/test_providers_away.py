"""Providers that are away or hang, as a worker meets them in what it does for a process without keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore

import httpx
import pytest
from msgspec.structs import replace

from tests.integration.intake.conftest import Asker
from worker.intake import grant_ops, services
from worker.intake.provider_slots import CALLS_MAX, ProviderSlots
from worker.intake.requests import RETRY_AFTER_S, Code, Op
from worker.providers.client import ProviderClient

#: Of a worker as it is shipped.
THREADS = 8
GRANT = {"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 3600}
HANGING, OTHER = "https://provider.example/token", "https://other.example/token"


def unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def overloaded(_: httpx.Request) -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": "7"})


def refusing(_: httpx.Request) -> httpx.Response:
    return httpx.Response(400, json={"error": "unsupported_token_type"})


@pytest.mark.parametrize(
    ("provider", "code", "again_s"),
    [
        (unreachable, Code.UNAVAILABLE, 30),
        (overloaded, Code.UNAVAILABLE, 7),
        (refusing, Code.CONFLICT, None),
    ],
)
def test_a_grant_that_is_not_ended_leaves_its_account_and_says_whether_to_ask_again(
    asker: Asker,
    monkeypatch: pytest.MonkeyPatch,
    provider: Callable[[httpx.Request], httpx.Response],
    code: Code,
    again_s: float | None,
) -> None:
    client = ProviderClient(transport=httpx.MockTransport(provider))
    monkeypatch.setattr(services, "provider_client", lambda _: client)
    knobs = json.dumps({"revocation_url": "https://provider.example/revoke"})
    asker.bench.add(token_url=HANGING, knobs=knobs)

    reply = asker.ask(Op.REMOVE_ACCOUNT, account="acct", revoke=True)

    assert (reply.code, reply.result.get(RETRY_AFTER_S)) == (code, again_s)
    assert (reply.result["revocation"], reply.result["removed"]) == ("failed", False)
    assert "nothing was removed" in reply.detail
    assert asker.bench.account().claim_attempt is None


def test_a_token_endpoint_that_hangs_holds_some_threads_and_not_those_of_other_providers(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grant_ops, "provider_slots", ProviderSlots(slow_s=0))
    ended, asked = Event(), Semaphore(0)

    def hanging(request: httpx.Request) -> httpx.Response:
        if request.url.host == "provider.example":
            asked.release()
            assert ended.wait(30)
        return httpx.Response(200, json={"access_token": "third", "expires_in": 3600})

    # A wire of its own, whose waits hold no event loop.
    async def on_a_thread(request: httpx.Request) -> httpx.Response:
        return await asyncio.to_thread(hanging, request)

    asker.tools = replace(asker.tools, client=ProviderClient(transport=httpx.MockTransport(on_a_thread)))
    for number in range(CALLS_MAX + 1):
        asker.bench.add(f"hangs-{number}", token_url=HANGING)
    asker.bench.add("other", token_url=OTHER)

    def verify(account: str) -> Code:
        fields = GRANT | {"refresh_token": f"refresh-of-{account}"}
        return asker.ask(Op.VERIFY_GRANT, account=account, fields=fields).code

    with ThreadPoolExecutor(CALLS_MAX) as customers:
        held = [customers.submit(verify, f"hangs-{number}") for number in range(CALLS_MAX)]
        try:
            for _ in held:
                assert asked.acquire(timeout=30)
            refused, answered = verify(f"hangs-{CALLS_MAX}"), verify("other")
        finally:
            ended.set()
        assert {one.result() for one in held} == {Code.DONE}
    assert (refused, answered) == (Code.UNAVAILABLE, Code.DONE)
    assert verify(f"hangs-{CALLS_MAX}") is Code.DONE


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_more_providers_that_hang_than_a_worker_has_threads_for_keep_no_other_request_waiting(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as would hold every thread of a worker as it is shipped: what asks no provider, or another one, is answered."""
    ended, asked = Event(), Semaphore(0)

    async def hanging(request: httpx.Request) -> httpx.Response:
        if request.url.host != "other.example":
            asked.release()
            async with asyncio.timeout(60):
                while not ended.is_set():
                    await asyncio.sleep(0.01)
        return httpx.Response(200, json={"access_token": "third", "expires_in": 3600})

    asker.tools = replace(asker.tools, client=ProviderClient(transport=httpx.MockTransport(hanging)))
    hanging_accounts = [f"hangs-{number}" for number in range(THREADS)]
    for number, account in enumerate(hanging_accounts):
        asker.bench.add(account, token_url=f"https://hangs-{number // CALLS_MAX}.example/token")
    asker.bench.add("other", token_url=OTHER)

    def ask(op: Op, account: str) -> Code:
        return asker.ask(op, account=account, fields=GRANT | {"refresh_token": f"new-of-{account}"}).code

    with ThreadPoolExecutor(THREADS) as worker, ThreadPoolExecutor(THREADS) as customers:
        taken = asker.carried_out
        monkeypatch.setattr(asker, "carried_out", lambda *sent: worker.submit(taken, *sent))
        held = [customers.submit(ask, Op.VERIFY_GRANT, account) for account in hanging_accounts]
        try:
            for _ in held:
                assert asked.acquire(timeout=30)
            answered = [ask(op, "other") for op in (Op.PUT_GRANT, Op.VERIFY_GRANT)]
        finally:
            ended.set()
        assert {one.result() for one in held} == {Code.DONE}
    assert answered == [Code.DONE, Code.DONE]
