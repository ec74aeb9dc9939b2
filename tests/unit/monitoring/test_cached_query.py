"""A question is asked once however many want to know, and nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.waiting import wait_until
from worker.monitoring.cached_query import CachedQuery


class Oracle:
    """Answers with how often it was asked; may be made to hang, and to fail."""

    def __init__(self) -> None:
        self.asked = 0
        self.now_s = 0.0
        self.fails = False
        self.takes_s = 0.0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self) -> int:
        self.asked += 1
        self.may_answer.wait()
        self.now_s += self.takes_s
        if self.fails:
            raise ConnectionError("away")
        return self.asked

    def lookout(self, *, patience_s: float = 20.0, patience_with_older_s: float = 20.0) -> CachedQuery[int]:
        return CachedQuery(
            "it",
            self,
            fresh_s=10,
            kept_s=60,
            patience_s=patience_s,
            patience_with_older_s=patience_with_older_s,
            clock=lambda: self.now_s,
        )


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


def test_a_storm_of_scrapes_asks_once(oracle: Oracle) -> None:
    lookout = oracle.lookout()
    with ThreadPoolExecutor(20) as many:
        answers = set(many.map(lambda _: lookout.answer(), range(200)))
    assert (answers, oracle.asked) == ({1}, 1)


def test_it_is_asked_again_once_the_answer_is_old(oracle: Oracle) -> None:
    lookout = oracle.lookout()
    assert lookout.answer() == 1
    oracle.now_s = 10
    assert lookout.answer() == 2


def test_a_failure_is_no_answer_and_the_next_look_may_succeed(oracle: Oracle) -> None:
    lookout = oracle.lookout()
    assert lookout.answer() == 1
    oracle.fails, oracle.now_s = True, 10
    assert lookout.answer() is None
    oracle.fails, oracle.now_s = False, 20
    assert lookout.answer() == 3


def test_a_failure_that_took_long_puts_no_look_off(oracle: Oracle) -> None:
    """As a statement that a time-out ends: the store is back soon after, and is not called down for minutes."""
    lookout = oracle.lookout()
    oracle.fails, oracle.takes_s = True, 60
    assert lookout.answer() is None
    assert lookout.took_s == 60
    oracle.fails, oracle.takes_s = False, 0
    oracle.now_s += 10
    assert lookout.answer() == 2


def test_who_asks_of_what_hangs_is_let_go(oracle: Oracle) -> None:
    oracle.may_answer.clear()
    lookout = oracle.lookout(patience_s=0.01)
    assert [lookout.answer(), lookout.answer()] == [None, None]
    assert oracle.asked == 1, "the first look still hangs: no second one is begun"
    oracle.may_answer.set()
    wait_until(lambda: lookout.answer() == 1, "the look ends")


def test_a_newer_answer_that_is_late_is_stood_in_for_by_the_older_one_for_a_time(oracle: Oracle) -> None:
    lookout = oracle.lookout(patience_with_older_s=0)
    assert lookout.answer() == 1
    oracle.may_answer.clear()
    oracle.now_s = 30
    assert lookout.answer() == 1
    oracle.may_answer.set()
    wait_until(lambda: lookout.answer() == 2, "the newer answer is there")


def test_an_older_answer_does_not_stand_in_for_ever(oracle: Oracle) -> None:
    lookout = oracle.lookout(patience_s=0.01, patience_with_older_s=0)
    assert lookout.answer() == 1
    oracle.may_answer.clear()
    oracle.now_s = 60
    assert lookout.answer() is None
    oracle.may_answer.set()


def test_a_look_that_takes_long_is_taken_less_often(oracle: Oracle) -> None:
    lookout = oracle.lookout()
    oracle.takes_s = 5
    assert lookout.answer() == 1
    oracle.now_s += 44
    assert lookout.answer() == 1, "nine times as long as it took is not over"
    oracle.now_s += 2
    assert lookout.answer() == 2
