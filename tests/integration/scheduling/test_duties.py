"""Fleet-wide duties: one process has each, and nobody waits long for one that was killed."""

from __future__ import annotations

from tests.integration.conftest import Bench


def test_a_duty_is_one_s_until_it_is_given_back_or_its_time_is_over(bench: Bench) -> None:
    schedule = bench.runtime.schedule
    assert schedule.take_duty("plan", holder="one", for_s=60)
    assert not schedule.take_duty("plan", holder="other", for_s=60)
    schedule.end_duty("plan", holder="one")
    assert schedule.take_duty("plan", holder="other", for_s=0)
    assert schedule.take_duty("plan", holder="one", for_s=60)


def test_a_duty_that_was_taken_before_the_clock_was_set_back_is_free(bench: Bench) -> None:
    schedule = bench.runtime.schedule
    assert schedule.take_duty("plan", holder="killed", for_s=3600)
    assert schedule.take_duty("plan", holder="other", for_s=5)
    assert not schedule.take_duty("plan", holder="third", for_s=5)


def test_only_its_holder_keeps_a_duty(bench: Bench) -> None:
    schedule = bench.runtime.schedule
    schedule.take_duty("plan", holder="one", for_s=0)
    schedule.keep_duty("plan", holder="other", for_s=60)
    assert schedule.take_duty("plan", holder="third", for_s=0)
    schedule.keep_duty("plan", holder="third", for_s=60)
    assert not schedule.take_duty("plan", holder="one", for_s=60)
