"""Tasks that answer after their call is over: the refresh token may be spent, and the answer has the only new one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from models.answer import Fault
from models.callback import CallbackInput
from models.tables.attempt import Outcome, Trigger
from refreshd_reader.callback_task import CallbackTask, Envelopes
from tests.integration.callbacks.test_task import SECRET, refresh
from tests.integration.conftest import Bench
from tests.support.waiting import wait_until
from worker.callbacks.host.celery_task import TaskClient
from worker.callbacks.host.run_result import Reply
from worker.redis.client import connect, connect_async
from worker.refresh.attempt import Result
from worker.settings import Settings

LIFETIME_S = 3600


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TASK_SECRET", SECRET)
    file = settings.data_dir / "callbacks.yaml"
    file.write_text("late: {task: acme.late, queue: acme, secret_env: TASK_SECRET, timeout_s: 1}\n")
    return settings.model_copy(update={"callbacks_file": file, "callback_modules": ()})


class Operator:
    """An operator's worker, whose task answers when it is told to."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.given: list[str] = []
        self.answered = 0

    def late(self, inputs: dict[str, Any]) -> dict[str, Any]:
        self.given.append(inputs["refresh_token"])
        assert self.goes_on.wait(60)
        return {**refresh(inputs), "expires_in": LIFETIME_S}


@pytest.fixture
def operator(redis_url: str) -> Iterator[Operator]:
    made = Operator()
    app = Celery("acme", broker=redis_url, set_as_current=False)
    app.conf.update(task_default_queue="acme", task_ignore_result=True)
    callback = CallbackTask.from_url(redis_url, secret=SECRET)

    @app.task(name="acme.late", shared=False)
    def late_task(envelope: str) -> None:
        callback.answer(envelope, made.late)
        made.answered += 1

    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False, shutdown_timeout=60):
        yield made
        made.goes_on.set()
    app.close()


def again(bench: Bench) -> Result:
    """Refresh once more, without the pause that follows a failure."""
    return bench.refresh(trigger=Trigger.FORCED)["acct"]


def test_the_next_try_takes_the_answer_and_does_not_spend_the_refresh_token_again(
    bench: Bench, operator: Operator
) -> None:
    bench.add(refresh_method="callback", callback="late")
    assert bench.refresh()["acct"].reason == "timed_out"
    operator.goes_on.set()
    wait_until(lambda: operator.answered == 1, "the answer")
    late, first = again(bench), bench.runtime.history.of("acct", limit=9)[-1]

    assert late.outcome is Outcome.REFRESHED
    assert bench.refresh_token() == "old-refresh-new"
    assert operator.given == ["old-refresh"]
    assert bench.runtime.redis.keys("refreshd:envelope:*") == []
    assert bench.runtime.redis.keys("refreshd:callback-run:*") == []
    account, newest = bench.account(), bench.runtime.history.of("acct", limit=1)[0]
    # Its lifetime counts from when the task was asked, which was before the first call ended.
    assert account.expires_at is not None
    assert first.closed_at is not None
    assert account.expires_at - LIFETIME_S < first.closed_at
    assert "this is the answer of the run that began at " in (newest.output or "")


def test_the_next_try_waits_for_a_task_that_is_still_at_work(bench: Bench, operator: Operator) -> None:
    bench.add(refresh_method="callback", callback="late")
    assert bench.refresh()["acct"].reason == "timed_out"
    waiting = bench.begin_refresh(trigger=Trigger.FORCED)
    operator.goes_on.set()

    assert waiting.result()["acct"].outcome is Outcome.REFRESHED
    assert operator.given == ["old-refresh"]


def test_a_task_that_never_answers_is_waited_for_once(bench: Bench, operator: Operator) -> None:
    bench.add(refresh_method="callback", callback="late")
    assert bench.refresh()["acct"].reason == "timed_out"
    assert again(bench).reason == "timed_out"
    assert operator.given == ["old-refresh"]
    (newest,) = bench.runtime.history.of("acct", limit=1)
    assert "has the refresh token and gave no answer: the next try asks anew" in (
        newest.error_description or ""
    )
    operator.goes_on.set()
    assert again(bench).outcome is Outcome.REFRESHED
    assert operator.given == ["old-refresh", "old-refresh"]


Send = Callable[[str], None]


def asked(redis_url: str, *sends: Send, grant: str = "r") -> list[Reply]:
    """Have a task asked for once for each of `sends`, which is given the envelope's name; a process each."""

    async def call(send: Send) -> Reply:
        client = connect_async(redis_url)
        tasks = TaskClient(client, redis_url, "refreshd:")
        patch.setattr(tasks, "_send", lambda _broker, _task, _queue, envelope, _left_s: send(envelope))
        deadline = asyncio.get_running_loop().time() + 1
        given = CallbackInput(account_id="acct", access_token="a", refresh_token=grant)
        try:
            return await tasks.call("t", "q", SECRET, given, deadline=deadline, on_send=lambda: None)
        finally:
            await client.aclose()

    with pytest.MonkeyPatch.context() as patch:
        return [asyncio.run(call(send)) for send in sends]


def never(envelope: str) -> None:
    raise AssertionError(f"{envelope} was sent")


def test_a_run_whose_worker_ended_before_it_saw_the_answer_is_taken_up(redis_url: str) -> None:
    asker = connect(redis_url)

    class Killed(BaseException):
        """The worker's process, at its end."""

    def send(envelope: str) -> None:
        CallbackTask(asker, SECRET).answer(envelope, refresh)
        raise Killed

    with suppress(Killed):
        asked(redis_url, send)
    (reply,) = asked(redis_url, never)
    asker.close()

    assert reply.failure is None, reply.failure
    assert reply.value == {"access_token": "a-new", "refresh_token": "r-new"}
    assert reply.asked_at is not None


def test_a_run_that_no_worker_has_taken_is_not_waited_for(redis_url: str) -> None:
    asker = connect(redis_url)

    def answer(envelope: str) -> None:
        CallbackTask(asker, SECRET).answer(envelope, refresh)

    lost, reply = asked(redis_url, lambda _: None, answer)
    asker.close()
    assert lost.failure is not None
    assert not lost.failure.spent
    assert reply.failure is None, reply.failure
    assert reply.asked_at is None


def test_a_run_of_another_refresh_token_is_not_waited_for(redis_url: str) -> None:
    """The account was given a new grant: the answer of the one before is another owner's, perhaps."""
    asker = connect(redis_url)

    def take(envelope: str) -> None:
        assert asker.getdel(Envelopes(SECRET).inputs_key(envelope))

    def answer(envelope: str) -> None:
        CallbackTask(asker, SECRET).answer(envelope, refresh)

    (lost,) = asked(redis_url, take)
    (reply,) = asked(redis_url, answer, grant="granted")
    asker.close()
    assert lost.failure is not None
    assert (lost.failure.fault, lost.failure.spent) == (Fault.TIMEOUT, True)
    assert reply.failure is None, reply.failure
    assert reply.value == {"access_token": "a-new", "refresh_token": "granted-new"}
