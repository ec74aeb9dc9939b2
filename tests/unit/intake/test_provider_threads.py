"""Threads for requests that wait for a provider: bounded, of the caller's context, and waited for at the end."""

from __future__ import annotations

import threading
from contextvars import ContextVar

from structlog.testing import capture_logs

from worker.intake.provider_threads import ProviderThreads

TASK: ContextVar[str] = ContextVar("task")


def test_a_request_beyond_the_threads_waits_for_one_and_the_end_waits_for_all() -> None:
    threads, answered, begun = ProviderThreads(1), threading.Event(), threading.Event()
    done: list[str] = []

    def first() -> None:
        assert answered.wait(30)
        done.append(TASK.get())

    def begin_another() -> None:
        TASK.set("second")
        threads.begin(lambda: done.append(TASK.get()))
        begun.set()

    TASK.set("first")
    threads.begin(first)
    caller = threading.Thread(target=begin_another)
    caller.start()
    assert not begun.wait(0.1)
    answered.set()
    caller.join(30)
    threads.close()
    assert done == ["first", "second"]


def test_work_that_raises_frees_its_thread_and_its_log_has_none_of_its_words() -> None:
    threads = ProviderThreads(1)

    def broken() -> None:
        raise LookupError("marker-secret")

    with capture_logs() as lines:
        threads.begin(broken)
        threads.begin(lambda: None)
        threads.close()
    assert [one["event"] for one in lines] == ["intake_failed"]
    assert "marker" not in str(lines)
