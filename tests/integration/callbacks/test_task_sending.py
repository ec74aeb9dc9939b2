"""Tasks whose message could not be sent, or so it seemed: the broker may have taken it all the same."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from models.answer import Fault
from models.callback import CallbackInput
from refreshd_reader.callback_task import CallbackTask, Envelopes
from tests.integration.callbacks.test_task import SECRET, refresh
from worker.callbacks.host.celery_task import TaskClient
from worker.callbacks.host.run_result import Reply
from worker.redis.client import connect, connect_async


def sent_badly(redis_url: str, send: Callable[[str], None], *, within_s: float) -> Reply:
    """Have a task run that `send` sends, given the envelope's name."""

    async def call() -> Reply:
        client = connect_async(redis_url)
        tasks = TaskClient(client, redis_url, "refreshd:")
        patch.setattr(tasks, "_send", lambda _broker, _task, _queue, envelope, _left_s: send(envelope))
        deadline = asyncio.get_running_loop().time() + within_s
        given = CallbackInput(access_token="a", refresh_token="r")
        reply = await tasks.call("t", "q", SECRET, given, deadline=deadline, on_send=lambda: None)
        assert await client.keys("refreshd:envelope:*") == []
        await client.aclose()
        return reply

    with pytest.MonkeyPatch.context() as patch:
        return asyncio.run(call())


def test_an_answer_is_waited_for_where_sending_failed_and_the_task_was_taken_all_the_same(
    redis_url: str,
) -> None:
    """The broker has the message, and the connection broke before it said so."""
    asker, taken, failed = connect(redis_url), threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def refresh_later(inputs: dict[str, Any]) -> dict[str, Any]:
        taken.set()
        assert failed.wait(30)
        time.sleep(0.3)
        return refresh(inputs)

    def send(envelope: str) -> None:
        work = CallbackTask(asker, SECRET).answer
        threads.append(threading.Thread(target=work, args=(envelope, refresh_later)))
        threads[-1].start()
        assert taken.wait(30)
        failed.set()
        raise OperationalError

    reply = sent_badly(redis_url, send, within_s=30)
    for thread in threads:
        thread.join()
    asker.close()

    assert reply.failure is None, reply.failure
    assert reply.value == {"access_token": "a-new", "refresh_token": "r-new"}


def test_a_task_that_was_taken_and_does_not_answer_ends_with_why_it_could_not_be_asked(
    redis_url: str,
) -> None:
    asker = connect(redis_url)

    def send(envelope: str) -> None:
        assert asker.getdel(Envelopes(SECRET).inputs_key(envelope))
        raise OperationalError

    reply = sent_badly(redis_url, send, within_s=1)
    asker.close()

    assert reply.failure is not None
    assert (reply.failure.fault, reply.failure.spent) == (Fault.CALLBACK, True)
    assert reply.failure.fault_detail == "the task could not be asked: OperationalError"


def test_an_answer_that_is_there_at_the_deadline_is_taken(redis_url: str) -> None:
    """The worker was paused, or its broker slow: the task ran and answered long ago."""
    asker = connect(redis_url)

    def send(envelope: str) -> None:
        CallbackTask(asker, SECRET).answer(envelope, refresh)
        time.sleep(1.5)

    reply = sent_badly(redis_url, send, within_s=1)
    asker.close()

    assert reply.failure is None, reply.failure
    assert reply.value == {"access_token": "a-new", "refresh_token": "r-new"}
