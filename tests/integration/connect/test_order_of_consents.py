"""Consents of one account that are stored in another order than they were given in: the newest stays."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from tests.integration.accounts.test_grants import GrantDesk, grant
from tests.integration.connect.conftest import CookieJar, Platform, granted, on_both
from worker.accounts.grants.replacement import Superseded
from worker.intake.client import NoWorkerAnswered
from worker.intake.requests import Code, Op


@on_both
@pytest.mark.parametrize("exists", [True, False])
def test_a_slow_exchange_does_not_put_an_older_consent_over_a_newer_one(
    platform: Platform, exists: bool
) -> None:
    """A customer's exchange hangs; the customer opens the page again and consents once more."""
    if exists:
        platform.connected(platform.open())
    asked_first, newer_is_stored = Event(), Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if b"code=the-first" in request.content:
            asked_first.set()
            async with asyncio.timeout(10):
                while not newer_is_stored.is_set():  # the worker's other calls go on
                    await asyncio.sleep(0.01)
            return granted(2)
        return granted(3)

    handler: Any = answer
    platform.bench.answer = handler
    first, second = platform.open(), platform.open()
    browser = CookieJar()
    state = platform.press(first, browser)["state"]
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(platform.back, browser, code="the-first", state=state)
        assert asked_first.wait(10)
        state = platform.press(second, browser)["state"]
        platform.back(browser, code="the-second", state=state)
        assert platform.bench.refresh_token() == "marker-refresh-3"
        newer_is_stored.set()
        slow.result(10)

    assert platform.bench.refresh_token() == "marker-refresh-3"
    assert platform.status(first)[:2] == ("failed", "not_stored")
    assert platform.status(second)[0] == "connected"


def _unanswered(platform: Platform, op: Op, fields: dict[str, Any]) -> list[tuple[str, str]]:
    """Ask while no worker takes anything; returns the messages that wait."""
    late: list[tuple[str, str]] = []
    asker = platform.asker

    async def ask() -> None:
        payload = {"account": "acct", "fields": fields}
        await asker._ask(lambda *message: late.append(message), op, "platform", {}, payload, timeout_s=0.1)

    with pytest.raises(NoWorkerAnswered):
        asker.bench.runtime.run(ask())
    return late


@pytest.mark.parametrize("op", [Op.PUT_GRANT, Op.VERIFY_GRANT])
def test_a_grant_that_waited_for_a_worker_is_not_put_over_one_that_was_sent_later(
    platform: Platform, op: Op
) -> None:
    asker = platform.asker
    asker.bench.add()
    (message,) = _unanswered(platform, op, {"access_token": "first", "refresh_token": "first-refresh"})
    fields = {"access_token": "second", "refresh_token": "second-refresh", "expires_in": 3600}
    assert asker.ask(Op.PUT_GRANT, account="acct", fields=fields).code is Code.DONE
    asker.bench.requests.clear()

    asker.carried_out(*message)

    assert asker.bench.refresh_token() == "second-refresh"
    assert asker.bench.requests == []


def test_a_grant_of_the_future_keeps_no_later_one_out(platform: Platform) -> None:
    """The clock of the machine that sent it is ahead."""
    bench = platform.bench
    bench.add()
    desk, clock = GrantDesk(bench), bench.runtime.clock
    desk.store.store_one(replace(grant(refresh_token="first-refresh"), consented_at=clock.now() + 300))

    desk.store.store_one(replace(grant(refresh_token="second-refresh"), consented_at=clock.now()))

    assert bench.refresh_token() == "second-refresh"


def test_an_older_grant_is_refused_in_words(platform: Platform) -> None:
    bench = platform.bench
    bench.add()
    desk, now = GrantDesk(bench), bench.runtime.clock.now()
    desk.store.store_one(grant(refresh_token="newer"))

    with pytest.raises(Superseded, match=r"grant: is older than the stored one, .* 30\.\d s later"):
        desk.store.store_one(replace(grant(refresh_token="older"), consented_at=now - 30))

    assert (bench.refresh_token(), bench.account().generation) == ("newer", 2)
