"""The door between the broker and Celery: what goes out is signed, what comes in is looked at first."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from celery import Celery, Task
from celery.signals import before_task_publish
from celery.utils.log import get_logger
from celery.worker import strategy as celery_strategy
from kombu.serialization import dumps

from worker.events import log
from worker.io.clock import wall_clock
from worker.io.message import ID_MAX, SIGNATURE, RefusedMessage, Signer, check_shape
from worker.metrics import worker_metrics
from worker.settings import load_settings

_celery_log = get_logger(__name__)


class CheckedTask(Task[Any, Any]):
    """A task whose messages are looked at before they are taken apart."""

    abstract = True
    Strategy = "worker.intake:strategy"


def strategy(task: Any, app: Celery, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Give the function that a worker calls with each message of a task: Celery's own, behind our look."""
    take = celery_strategy.default(task, app, consumer, **options)
    signer = signer_of_this_process()

    def look(message: Any, body: Any, *rest: Any, **more: Any) -> Any:
        try:
            check_shape(message.headers, message.body, message.content_type)
            if signer is not None:
                signer.verify(message.headers, message.body, now=wall_clock())
        except RefusedMessage as error:
            log.error(
                "message_refused",
                task=task.name,
                task_id=str(message.headers.get("id"))[:ID_MAX],
                reason=error.reason,
                detail=str(error),
            )
            worker_metrics().message_refused(error.reason)
            message.reject_log_error(_celery_log, consumer.connection_errors)
            return None
        return take(message, body, *rest, **more)

    return look


@before_task_publish.connect
def _sign(headers: dict[str, Any] | None = None, body: Any = None, **_: Any) -> None:
    """Sign what this process sends to workers of ours; a task of another application is its own affair."""
    signer = signer_of_this_process()
    if signer is None or headers is None or not str(headers.get("task")).startswith("refreshd."):
        return
    _type, _encoding, text = dumps(body, serializer="json")  # exactly as it is written afterwards
    headers[SIGNATURE] = signer.sign(headers, text, now=wall_clock())


@cache
def signer_of_this_process() -> Signer | None:
    """Give what signs and verifies, None where REFRESHD_MESSAGE_KEYS is not set."""
    keys = load_settings().message_keys
    return None if keys is None else Signer.of(keys.get_secret_value())
