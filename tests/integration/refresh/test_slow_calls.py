"""A call that hangs holds neither its group nor the thread that the group has."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from models.account import RefreshMethod
from models.attempt import Outcome, Trigger
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from worker.policy.reasons.skipped import CALL_UNDER_WAY
from worker.providers.client import ProviderClient
from worker.refresh import refresher


def hang(bench: Bench) -> asyncio.Event:
    """Have calls to one host wait until the event is set."""
    released = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "slow.example":
            await released.wait()
        return granted(request)

    bench.runtime.callers[RefreshMethod.BODY] = ProviderClient(transport=httpx.MockTransport(answer))
    bench.runtime.refresher._slow_call_s = 0.2
    bench.add("quick")
    bench.add("slow", token_url="https://slow.example/token")
    return released


def test_a_planned_group_goes_on_without_a_slow_call_whose_answer_is_stored_all_the_same(
    bench: Bench,
) -> None:
    released = hang(bench)

    results = bench.refresh("quick", "slow")

    assert results["quick"].outcome == Outcome.REFRESHED
    assert (results["slow"].outcome, results["slow"].reason) == (Outcome.BUSY, CALL_UNDER_WAY)
    bench.runtime.loop.call_soon_threadsafe(released.set)
    bench.runtime.run(bench.runtime.refresher.drain())
    assert bench.account("slow").generation == 2


def test_a_forced_refresh_waits_for_its_answer(bench: Bench) -> None:
    released = hang(bench)
    refreshing = bench.begin_refresh("slow", trigger=Trigger.FORCED)
    bench.refresh("quick")
    assert not refreshing.done()
    bench.runtime.loop.call_soon_threadsafe(released.set)
    assert refreshing.result()["slow"].outcome == Outcome.REFRESHED


def test_a_worker_that_ends_waits_for_slow_calls(bench: Bench) -> None:
    released = hang(bench)
    bench.refresh("slow")
    bench.runtime.loop.call_soon_threadsafe(bench.runtime.loop.call_later, 0.3, released.set)
    bench.runtime.run(bench.runtime._finish())
    assert bench.account("slow").generation == 2
    bench.runtime.run(asyncio.sleep(0))


def test_a_large_message_is_refreshed_a_part_at_a_time_and_a_slow_call_stops_no_later_part(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresher, "AT_ONCE", 2)
    monkeypatch.setattr(refresher, "NEXT_AFTER_S", 0.1)
    released = hang(bench)
    later = [f"later-{n}" for n in range(3)]
    for account in later:
        bench.add(account)

    results = bench.refresh("slow", "quick", *later)

    assert {results[one].outcome for one in ("quick", *later)} == {Outcome.REFRESHED}
    assert results["slow"].reason == CALL_UNDER_WAY
    bench.runtime.loop.call_soon_threadsafe(released.set)
    bench.runtime.run(bench.runtime.refresher.drain())
    assert bench.account("slow").generation == 2
