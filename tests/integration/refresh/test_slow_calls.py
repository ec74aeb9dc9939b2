"""A call that hangs holds neither its group nor the thread that the group has."""

from __future__ import annotations

import asyncio
import os

import httpx
import pytest

from models.tables.account import RefreshMethod
from models.tables.attempt import Outcome, Trigger
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from worker import ending
from worker.policy.reasons.skipped import CALL_UNDER_WAY
from worker.policy.reasons.waiting import WORKER_ENDING
from worker.providers.client import ProviderClient
from worker.refresh import under_way


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
    monkeypatch.setattr(under_way, "AT_ONCE", 2)
    monkeypatch.setattr(under_way, "CALLS_WANTED", 2)
    monkeypatch.setattr(under_way, "NEXT_AFTER_S", 0.1)
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


def test_a_worker_that_is_asked_to_end_begins_no_further_part_and_hands_the_rest_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "AT_ONCE", 2)
    monkeypatch.setattr(under_way, "CALLS_WANTED", 2)
    monkeypatch.setattr(under_way, "NEXT_AFTER_S", 300.0)
    released = hang(bench)
    bench.runtime.refresher._slow_call_s = 300.0
    bench.add("slow-too", token_url="https://slow.example/token")
    sent_until = bench.runtime.clock.now() + 75
    rest = [f"later-{n}" for n in range(3)]
    for account in rest:
        bench.add(account, plan_at=sent_until)
    refreshing = bench.begin_refresh("slow", "slow-too", *rest)
    bench.refresh("quick")  # by now the others' calls have begun

    monkeypatch.setattr(bench.runtime.refresher, "_is_ending", lambda: True)
    bench.runtime.loop.call_soon_threadsafe(released.set)
    results = refreshing.result()
    bench.runtime.run(bench.runtime.refresher.drain())
    bench.runtime.run(bench.runtime.committer.drain())

    assert results["slow"].outcome == results["slow-too"].outcome == Outcome.REFRESHED
    for account in rest:
        row = bench.account(account)
        assert (results[account].outcome, results[account].reason) == (Outcome.NOT_SENT, WORKER_ENDING)
        assert (row.generation, row.claim_attempt) == (1, None)
        assert row.plan_at is not None
        assert row.plan_at < sent_until - 60
        assert not bench.runtime.redis.exists(bench.runtime.keys.lock(account))


def test_a_worker_that_is_asked_to_end_finishes_what_a_person_asked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "AT_ONCE", 1)
    monkeypatch.setattr(bench.runtime.refresher, "_is_ending", lambda: True)
    bench.answer = granted
    bench.add("one")
    bench.add("two")

    results = bench.refresh("one", "two", trigger=Trigger.FORCED)

    assert {one.outcome for one in results.values()} == {Outcome.REFRESHED}


def test_a_later_part_waits_until_few_calls_wait_for_answers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "AT_ONCE", 2)
    monkeypatch.setattr(under_way, "CALLS_WANTED", 3)
    monkeypatch.setattr(under_way, "NEXT_AFTER_S", 300.0)
    released = hang(bench)
    bench.add("later", token_url="https://slow.example/token")
    bench.add("last")
    bench.runtime.refresher._slow_call_s = 300.0

    refreshing = bench.begin_refresh("slow", "later", "quick", "last")
    bench.add("another")
    bench.refresh("another")

    assert bench.account("last").generation == 1
    bench.runtime.loop.call_soon_threadsafe(released.set)
    assert {one.outcome for one in refreshing.result().values()} == {Outcome.REFRESHED}


# Python 3.12 and later warn of a fork beside threads, such as other tests'; the child asks for one value and ends.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_the_end_of_a_worker_is_seen_by_the_processes_of_its_pool() -> None:
    note = ending.note_end
    assert not ending.is_ending()
    try:
        note()
        child = os.fork()
        if not child:
            os._exit(int(ending.is_ending()))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    finally:
        ending._asked[0] = 0
