"""The operator's own Celery application: callbacks that are tasks, with a result backend that keeps everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from celery import Celery
from celery.contrib.testing.worker import start_worker

from refreshd_reader.callback_task import CallbackTask


@contextmanager
def operators_worker(redis_url: str, secret: str, base: str) -> Iterator[None]:
    """Run it on the queue `callback.task` until the block ends."""
    app = Celery("leaks", broker=redis_url, backend=redis_url, set_as_current=False)
    app.conf.update(
        task_default_queue="callback.task",
        worker_send_task_events=True,
        task_track_started=True,
        task_send_sent_event=True,
        result_extended=True,
    )
    callback = CallbackTask.from_url(redis_url, secret=secret)

    def ask(inputs: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.post(f"{base}/task", json=inputs, trust_env=False).json()
        return answer

    def fail(inputs: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError(f"could not use {inputs}")

    @app.task(name="leaks.refresh", shared=False)
    def refresh_task(envelope: str) -> None:
        callback.answer(envelope, ask)

    @app.task(name="leaks.fail", shared=False)
    def fail_task(envelope: str) -> None:
        callback.answer(envelope, fail)

    with start_worker(app, pool="threads", concurrency=1, perform_ping_check=False, shutdown_timeout=60):
        yield
    app.close()
