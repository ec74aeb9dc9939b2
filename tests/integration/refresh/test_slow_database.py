"""A database that takes its time: a call has its whole time all the same, or is not sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import text

from models.tables.attempt import Outcome
from tests.integration.conftest import Bench
from worker.db.engine import is_sqlite, writing
from worker.settings import Settings

CALL_TIMEOUT_S = 1.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"call_timeout_s": CALL_TIMEOUT_S, "claim_s": 11.0})


@contextmanager
def locked(bench: Bench, for_s: float) -> Iterator[None]:
    """Keep every writer waiting for so long."""
    ready, over = threading.Event(), threading.Event()

    def hold() -> None:
        with writing(bench.runtime.engine) as connection:
            if not is_sqlite(bench.runtime.engine):
                connection.execute(text("LOCK TABLE account IN EXCLUSIVE MODE"))
            ready.set()
            over.wait(for_s)

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    yield
    over.set()
    thread.join()


def test_time_that_the_database_took_is_not_taken_from_the_call(bench: Bench) -> None:
    bench.add()
    bench.answer = lambda _: httpx.Response(200, json={"access_token": "new", "expires_in": 60})

    with locked(bench, for_s=CALL_TIMEOUT_S * 1.5):
        assert bench.refresh()["acct"].outcome == Outcome.REFRESHED


def test_a_call_that_could_outlast_its_claim_is_not_sent(bench: Bench) -> None:
    bench.add()

    with locked(bench, for_s=5.5):
        assert bench.refresh()["acct"].outcome == Outcome.NOT_SENT
    assert bench.requests == []
