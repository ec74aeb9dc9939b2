"""What tasks that beat asks for have in common: a store that is away ends one as a retry, for beat asks again."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import Task

from tasks._request import PeriodicRequest, retried
from worker.app import app
from worker.errors import Unreachable
from worker.log import log

Summary = dict[str, Any]


def periodic(
    name: str,
    *,
    event: str,
    words: str,
    also: tuple[type[Exception], ...] = (),
    failed: Callable[[], Summary] = dict,
) -> Callable[[Callable[[], Summary]], Task[[], Summary]]:
    """Return a decorator that makes a function the task of that name.

    Args:
        name: the task's name.
        event: the log's event where the task could not be done.
        words: what Flower says of it then, before the error.
        also: errors beside `Unreachable` that the next run makes good.
        failed: counts such a run, and returns what its result has beside the error.
    """
    passing: tuple[type[Exception], ...] = (Unreachable, *also)

    def decorate(run: Callable[[], Summary]) -> Task[[], Summary]:
        @app.task(name=name, Request=PeriodicRequest, send_events=False)
        @wraps(run)
        def task() -> Summary:
            try:
                return run()
            except passing as error:
                log.error(event, error=str(error))
                retried(f"{words}: {error}", {**failed(), "error": str(error)})

        return task

    return decorate
