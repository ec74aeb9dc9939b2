"""Fleet-wide locks: one process holds each, and one that was killed holds nothing up for long."""

from __future__ import annotations

import pytest

from tests.integration.conftest import Bench
from worker.db.fleet_locks import AsyncFleetLock, FleetLock


def lock(bench: Bench, holder: str, *, ttl_s: float = 60.0) -> FleetLock:
    return FleetLock(bench.runtime.engine, "plan", holder=holder, ttl_s=ttl_s)


def test_a_lock_is_held_by_one_process_until_it_is_released_or_its_time_is_over(bench: Bench) -> None:
    assert lock(bench, "one").take()
    assert not lock(bench, "other").take()
    lock(bench, "one").release()
    assert lock(bench, "other", ttl_s=0).take()
    assert lock(bench, "one").take()


def test_a_lock_that_was_taken_before_the_clock_was_set_back_is_free(bench: Bench) -> None:
    assert lock(bench, "killed", ttl_s=3600).take()
    assert lock(bench, "other", ttl_s=5).take()
    assert not lock(bench, "third", ttl_s=5).take()


def test_only_its_holder_renews_a_lock(bench: Bench) -> None:
    lock(bench, "one", ttl_s=0).take()
    lock(bench, "other").renew()
    assert lock(bench, "third", ttl_s=0).take()
    lock(bench, "third").renew()
    assert not lock(bench, "one").take()


def test_only_its_holder_releases_a_lock_and_a_note_stays_until_another(bench: Bench) -> None:
    one = lock(bench, "one")
    one.take()
    lock(bench, "other").release(note="theirs")
    assert not lock(bench, "third").take()
    assert one.note() is None
    for note, remembered in (("first", "first"), (None, "first"), ("second", "second")):
        one.release(note=note)
        assert one.note() == remembered


def test_a_block_that_fails_releases_its_lock_and_leaves_its_note(bench: Bench) -> None:
    with pytest.raises(ValueError, match="broken"), lock(bench, "one").hold() as held:  # noqa: PT012
        assert held is not None
        held.note = "so far"
        with lock(bench, "other").hold() as other:
            assert other is None
        raise ValueError("broken")
    assert lock(bench, "other").note() == "so far"
    assert lock(bench, "other").take()


def test_the_event_loop_holds_a_lock_as_a_thread_does(bench: Bench) -> None:
    first, second = (
        AsyncFleetLock(lock(bench, holder), bench.runtime.executor) for holder in ("one", "other")
    )

    async def hold_both() -> list[bool]:
        async with first.hold() as held, second.hold() as other:
            assert held is not None
            held.note = "mark"
            inside = [held is None, other is None]
        async with second.hold() as other:
            return [*inside, other is None]

    assert bench.runtime.run(hold_both()) == [False, True, False]
    assert lock(bench, "other").note() == "mark"
