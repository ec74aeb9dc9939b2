"""Reports of rejected tokens: the account's generation decides."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from models.tables.attempt import Outcome, Trigger
from refreshd_reader.contract import Keys, Rejection
from tests.integration.conftest import Bench
from tests.integration.refresh.test_refresher import granted
from tests.support.forked import ran
from worker.db.engine import writing
from worker.policy.reasons.skipped import FRESH_TOKENS_REJECTED, GENERATION_MOVED, REPORTED_TOO_SOON
from worker.policy.rejected_tokens import FRESH_REJECTED_MAX
from worker.redis.client import connect
from worker.scheduling.rejected_tokens import (
    GROUP,
    SAME_REPORT_MS,
    TAKE_OVER_AFTER_MS,
    ReportReader,
    connect_for_reports,
)
from worker.settings import Settings


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


def test_a_report_of_an_older_generation_has_the_newer_token_published_where_redis_lost_it(
    bench: Bench,
) -> None:
    bench.add()
    bench.answer = granted
    bench.refresh()
    lost = bench.token()
    bench.runtime.redis.delete(
        bench.runtime.keys.token("acct")
    )  # as a failover to a replica that lagged does

    bench.refresh(seen=1, trigger=Trigger.REPORTED)
    bench.runtime.run(bench.runtime.committer.drain())
    assert bench.runtime.run(bench.runtime.reconciler.needed())
    bench.runtime.run(bench.runtime.reconciler.reconcile())

    assert lost is not None
    assert bench.token() == lost
    assert len(bench.requests) == 1


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
    reader = ReportReader(connect_for_reports(redis_url), Keys(), found, consumer="test")
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


def test_bytes_that_are_no_text_end_no_reader(redis_url: str, dispatched: Dispatched) -> None:
    """Whoever may report may write any bytes; found by fuzzing: they ended the thread of every worker."""
    with connect(redis_url) as redis:
        redis.xadd(Keys().rejected, {b"account": b"\x91", b"\xff": b"\xfe", b"generation": b"1"})
        last: dict[Any, Any] = dict(Rejection("last", 1, 401).to_entry())
        redis.xadd(Keys().rejected, last)

        dispatched.wait_for(1)

    assert dispatched.messages == [(("last", 1), Trigger.REPORTED)]


def test_reports_that_a_dead_worker_held_are_taken_over(redis_url: str) -> None:
    with connect(redis_url) as redis:
        redis.xgroup_create(Keys().rejected, GROUP, id="0", mkstream=True)
        entry: dict[Any, Any] = dict(Rejection("acct", 3, 401).to_entry())
        redis.xadd(Keys().rejected, entry)
        held: Any = redis.xreadgroup(GROUP, "killed", {Keys().rejected: ">"}, count=10)
        assert held, "the dead worker holds the report"
        (waiting,) = redis.xpending_range(Keys().rejected, GROUP, "-", "+", 10)
        redis.xclaim(
            Keys().rejected, GROUP, "killed", 0, [waiting["message_id"]], idle=TAKE_OVER_AFTER_MS + 1
        )
        found = Dispatched()
        other = ReportReader(connect(redis_url), Keys(), found, consumer="alive")
        other.start()
        found.wait_for(1)
        other.stop()

        assert found.messages == [(("acct", 3), Trigger.REPORTED)]
        assert redis.xpending(Keys().rejected, GROUP)["pending"] == 0


def test_a_mark_that_a_worker_set_before_it_died_does_not_swallow_the_report_that_is_taken_over() -> None:
    assert SAME_REPORT_MS < TAKE_OVER_AFTER_MS


def test_tokens_that_work_for_a_minute_are_replaced_whenever_they_are_reported(bench: Bench) -> None:
    """The provider says that they live for an hour; the API ends them after a minute, with a 401."""
    bench.add()
    bench.answer = granted
    for seen in range(1, FRESH_REJECTED_MAX + 4):
        assert bench.refresh(seen=seen, trigger=Trigger.REPORTED)["acct"].outcome == Outcome.REFRESHED
        with writing(bench.runtime.engine) as connection:
            connection.exec_driver_sql("UPDATE attempt SET opened_at = opened_at - 60")
    said = explained(bench.runtime.settings, "acct")
    assert "token_ends_before_it_is_due" in said
    assert "api_rejects_fresh_tokens" not in said


def test_an_api_that_rejects_fresh_tokens_is_recognised_after_a_few_and_explained(bench: Bench) -> None:
    bench.add()
    bench.answer = granted
    seen = 1
    for _ in range(FRESH_REJECTED_MAX):
        assert bench.refresh(seen=seen, trigger=Trigger.REPORTED)["acct"].outcome == Outcome.REFRESHED
        with writing(bench.runtime.engine) as connection:
            connection.exec_driver_sql("UPDATE attempt SET opened_at = opened_at - 20")
        seen += 1

    again = bench.refresh(seen=seen, trigger=Trigger.REPORTED)["acct"]

    assert (again.outcome, again.reason) == (Outcome.NOT_DUE, FRESH_TOKENS_REJECTED)
    assert len(bench.requests) == FRESH_REJECTED_MAX
    said = explained(bench.runtime.settings, "acct")
    assert "api_rejects_fresh_tokens" in said
    assert "the API rejects tokens that are fresh" in said


def explained(settings: Settings, account: str) -> str:
    """Return what `refreshd explain` says of an account, as it says it to scripts."""
    assert settings.keys is not None
    environment = {
        **os.environ,
        "REFRESHD_DATABASE_URL": settings.database,
        "REFRESHD_REDIS_URL": settings.redis,
        "REFRESHD_KEYS": settings.keys.get_secret_value(),
        "REFRESHD_DATA_DIR": str(settings.data_dir),
    }
    result = ran(["worker.cli", "explain", account, "--json"], cwd=settings.data_dir, env=environment)
    assert result.returncode == 1, result.stderr
    return result.stdout
