"""What an entry of the history holds, on real stores, and what a person is shown of it."""

from __future__ import annotations

import httpx
import pytest

from models.tables.attempt import Trigger
from tests.integration.conftest import Bench
from worker.cli.records.history import details, line_of
from worker.providers.http1.parser import BrokeHTTP
from worker.refresh.attempt import Origin


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: the path's tests write attempts on both databases."""
    return sqlite_url


def test_an_attempt_tells_who_why_what_was_sent_what_came_back_and_what_follows(bench: Bench) -> None:
    bench.add()
    bench.answer = lambda _: httpx.Response(
        200,
        headers={"x-request-id": "req-4711"},
        json={"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 3600},
    )
    bench.runtime.run(
        bench.runtime.refresher.refresh(
            [("acct", 1)], Origin(Trigger.FORCED, worker="celery@one", task_id="task-1")
        )
    )

    (entry,) = bench.runtime.history.of("acct", limit=9)
    shown = dict(details(entry))
    line = line_of(entry, now=bench.runtime.clock.now()).plain

    assert {
        "at",
        "worker",
        "task",
        "attempt",
        "request",
        "lock wait",
        "config version",
        "next refresh",
    } <= set(shown)
    assert (shown["worker"], shown["task"], shown["provider's request id"]) == (
        "celery@one",
        "task-1",
        "req-4711",
    )
    assert entry.refresh_fp
    assert entry.received_fp
    assert (shown["refresh token used"], shown["refresh token received"]) == (
        entry.refresh_fp,
        entry.received_fp,
    )
    assert all(word in line for word in ("forced", "refreshed", "HTTP 200", "generation 1 to 2", "next in "))
    everything = line + str(shown) + str(vars(entry))
    assert not any(
        secret in everything for secret in ("new-access", "new-refresh", "old-refresh", "client-secret")
    )


def test_a_decision_that_repeats_is_one_line_with_the_time_of_the_last(bench: Bench) -> None:
    bench.add(refresh_enabled=False)
    for _ in range(3):
        bench.refresh(trigger=Trigger.REPORTED)
    (entry,) = bench.runtime.history.of("acct", limit=9)
    assert "refresh_disabled  x3, last " in line_of(entry, now=bench.runtime.clock.now()).plain


def test_the_beginning_of_an_answer_that_broke_http_is_kept_redacted(bench: Bench) -> None:
    """Its first kilobyte, from the row as it is read back from SQL; no secret of the account is in it."""
    bench.add()

    def broken(_: httpx.Request) -> httpx.Response:
        raise BrokeHTTP("no status line", b"ERROR upstream said old-refresh is spent, state " + b"e " * 2000)

    bench.answer = broken
    bench.refresh()

    (entry,) = bench.runtime.history.of("acct", limit=9)
    assert (entry.outcome, entry.reason, entry.http_status) == ("retry", "answer_broke_http", None)
    assert (entry.output or "").startswith("ERROR upstream said [redacted] is spent, state e e ")
    assert len(entry.output or "") == 1024
    assert entry.error_description == "the answer broke HTTP: no status line"
