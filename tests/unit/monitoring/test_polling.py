"""A store is asked in the background and at its own pace; a scrape reads the latest snapshot."""

from __future__ import annotations

import threading

import pytest

from tests.support.waiting import wait_until
from worker.monitoring.polling import EVERY_S, KEPT_S, PolledQuery, Poller


class Store:
    """Answers with how often it was asked; can be slow, and can fail."""

    def __init__(self) -> None:
        self.asked = 0
        self.now_s = 0.0
        self.fails = False
        self.takes_s = 0.0

    def __call__(self) -> int:
        self.asked += 1
        self.now_s += self.takes_s
        if self.fails:
            raise ConnectionError("away")
        return self.asked

    def query(self) -> PolledQuery[int]:
        return PolledQuery("it", self, clock=lambda: self.now_s)


@pytest.fixture
def store() -> Store:
    return Store()


def answer(query: PolledQuery[int]) -> int | None:
    latest = query.latest()
    return None if latest is None else latest.answer


def test_reading_a_snapshot_asks_nothing(store: Store) -> None:
    query = store.query()
    assert (answer(query), store.asked) == (None, 0)
    assert query.poll()
    assert [answer(query) for _ in range(50)] == [1] * 50
    assert store.asked == 1


def test_a_snapshot_has_its_age(store: Store) -> None:
    query = store.query()
    query.poll()
    store.now_s += 7
    latest = query.latest()
    assert latest is not None
    assert (latest.answer, latest.age_s) == (1, 7)


def test_a_failure_takes_the_answer_away_until_the_next_one(store: Store) -> None:
    query = store.query()
    query.poll()
    store.fails = True
    assert not query.poll()
    assert answer(query) is None
    store.fails = False
    query.poll()
    assert answer(query) == 3


def test_a_snapshot_of_a_store_that_hangs_is_served_for_a_time_only(store: Store) -> None:
    query = store.query()
    query.poll()
    store.now_s += KEPT_S - 1
    assert answer(query) == 1
    store.now_s += 1
    assert answer(query) is None


def test_a_slow_query_is_repeated_less_often_and_its_snapshot_kept_for_longer(store: Store) -> None:
    query = store.query()
    assert query.rest_s == EVERY_S
    store.takes_s = 5
    query.poll()
    assert (query.took_s, query.rest_s) == (5, 45)
    store.now_s += 80
    assert answer(query) == 1


def test_a_failure_that_took_long_delays_no_query(store: Store) -> None:
    """As a statement that a time-out ends: the store is back soon after, and does not count as down for minutes."""
    query = store.query()
    store.fails, store.takes_s = True, 60
    query.poll()
    assert (query.took_s, query.rest_s) == (60, EVERY_S)


def test_queries_behind_a_failed_one_are_not_asked(store: Store) -> None:
    workers = Store()
    poller = Poller([store.query(), workers.query()])
    store.fails = True
    poller.poll()
    assert (store.asked, workers.asked) == (1, 0)
    store.fails = False
    poller.poll()
    assert (store.asked, workers.asked) == (2, 1)


def test_the_thread_polls_and_a_store_that_hangs_holds_nothing_up() -> None:
    answers = threading.Event()

    def hang() -> int:
        answers.wait()
        return 1

    query = PolledQuery("it", hang)
    poller = Poller([query])
    poller.start()
    assert query.latest() is None
    answers.set()
    assert poller.ready.wait(20)
    wait_until(lambda: answer(query) == 1, "the answer is there")
    poller.stop()
