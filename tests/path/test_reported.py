"""Reports of rejected tokens: the account's generation decides."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from models.attempt import Outcome, Trigger
from refreshd_reader.contract import Keys, Rejection
from tests.path.conftest import Bench
from tests.path.test_refresh import granted
from worker.io.redis import connect
from worker.policy.gate import GENERATION_MOVED
from worker.policy.reported import REPORTED_TOO_SOON
from worker.reports import ReportReader


def test_a_report_of_the_current_generation_refreshes_though_not_due(bench: Bench) -> None:
    account = bench.add()
    assert account.expires_at is not None
    bench.add("fresh", next_refresh_at=account.expires_at + 3600)
    bench.answer = granted
    assert bench.refresh("fresh", trigger=Trigger.REPORTED)["fresh"].outcome == Outcome.REFRESHED


def test_a_report_of_an_older_generation_does_nothing_and_the_history_says_so(bench: Bench) -> None:
    bench.add(generation=5)
    bench.refresh(seen=4, trigger=Trigger.REPORTED)
    bench.refresh(seen=4, trigger=Trigger.REPORTED)

    assert bench.requests == []
    (entry,) = bench.runtime.history.of("acct", limit=9)
    assert (entry.outcome, entry.reason, entry.repeats) == (Outcome.SUPERSEDED, GENERATION_MOVED, 2)


def test_a_second_report_at_once_is_too_soon(bench: Bench) -> None:
    bench.add()
    bench.answer = granted
    bench.refresh(trigger=Trigger.REPORTED)

    again = bench.refresh(seen=2, trigger=Trigger.REPORTED)["acct"]

    assert (again.outcome, again.reason) == (Outcome.NOT_DUE, REPORTED_TOO_SOON)
    assert len(bench.requests) == 1


class Dispatched:
    """Takes refreshes that the reader asks for, and lets a test wait for them."""

    def __init__(self) -> None:
        self.messages: list[tuple[tuple[str, int], Trigger]] = []
        self._arrived = threading.Condition()

    def __call__(self, accounts: Sequence[tuple[str, int]], *, trigger: Trigger, callback: bool) -> None:
        assert not callback
        with self._arrived:
            self.messages += [(pair, trigger) for pair in accounts]
            self._arrived.notify_all()

    def wait_for(self, count: int) -> None:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.messages) >= count, timeout=20)


@pytest.fixture
def dispatched(redis_url: str) -> Iterator[Dispatched]:
    found = Dispatched()
    reader = ReportReader(connect(redis_url), Keys(), found, consumer="test")
    reader.start()
    yield found
    reader.stop()


def test_ten_thousand_reports_of_one_generation_ask_for_one_refresh(
    redis_url: str, dispatched: Dispatched
) -> None:
    redis = connect(redis_url)
    same: dict[Any, Any] = dict(Rejection("acct", 3, 401).to_entry())
    other: dict[Any, Any] = dict(Rejection("last", 1, 401).to_entry())
    pipeline = redis.pipeline(transaction=False)
    for _ in range(10_000):
        pipeline.xadd(Keys().rejected, same)
    pipeline.xadd(Keys().rejected, {"account": "no such { id", "generation": "x"})
    pipeline.xadd(Keys().rejected, other)
    pipeline.execute()

    dispatched.wait_for(2)

    assert dispatched.messages == [(("acct", 3), Trigger.REPORTED), (("last", 1), Trigger.REPORTED)]
    redis.close()
