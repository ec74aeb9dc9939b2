"""One timer serves the deadlines of all calls: each function is called at its time, and none that was removed."""

from __future__ import annotations

import asyncio

from worker.providers.deadlines import Deadlines


async def test_functions_are_called_in_the_order_of_their_times_whatever_the_order_of_adding() -> None:
    loop, called, ended = asyncio.get_running_loop(), list[str](), asyncio.Event()
    deadlines, now = Deadlines.of_loop(), loop.time()
    deadlines.add(ended.set, now + 0.03)
    deadlines.add(lambda: called.append("first"), now)
    deadlines.add(lambda: called.append("second"), now + 0.01)

    await ended.wait()

    assert called == ["first", "second"]


async def test_a_function_that_was_removed_is_not_called() -> None:
    loop, called, ended = asyncio.get_running_loop(), list[str](), asyncio.Event()
    deadlines, now = Deadlines.of_loop(), loop.time()
    removed = lambda: called.append("removed")  # noqa: E731
    deadlines.add(removed, now)
    deadlines.add(ended.set, now + 0.01)
    deadlines.remove(removed)
    deadlines.remove(removed)

    await ended.wait()

    assert called == []


async def test_an_event_loop_has_one() -> None:
    assert Deadlines.of_loop() is Deadlines.of_loop()
