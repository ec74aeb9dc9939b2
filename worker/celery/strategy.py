"""The door between the broker and Celery: what comes in is looked at first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.utils.log import get_logger
from celery.worker import strategy as celery_strategy

from worker.broker.messages import ID_MAX, RefusedMessage, check_shape
from worker.broker.signing import signer_of_this_process
from worker.clock import shared_now
from worker.log import log
from worker.monitoring.metrics import worker_metrics

_celery_log = get_logger(__name__)


def strategy(task: Any, app: Celery, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Return the function that a worker calls with each message of a task: Celery's own, behind our look."""
    take = celery_strategy.default(task, app, consumer, **options)
    signer = signer_of_this_process()

    def look(message: Any, body: Any, *rest: Any, **more: Any) -> Any:
        try:
            check_shape(message.headers, message.body, message.content_type)
            if signer is not None:
                signer.verify(message.headers, message.body, now=shared_now())
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
