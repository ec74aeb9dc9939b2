"""Send refresh messages, and empty the urgent queue first."""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery
from celery.app.amqp import Queues
from kombu.exceptions import OperationalError

from models.tables.attempt import Trigger
from worker.broker.queues import CALLBACK, MESSAGE_EXPIRES_S, QUEUES, REFRESH, URGENT
from worker.scheduling.planner import Dispatch, Undeliverable


def dispatch_with(app: Celery) -> Dispatch:
    """Return the function that sends refresh messages."""

    def dispatch(accounts: Sequence[tuple[str, int]], *, trigger: Trigger, callback: bool) -> None:
        planned = CALLBACK if callback else REFRESH
        try:
            app.send_task(
                "refreshd.refresh",
                # The reason first: what is shown of a large group is cut short.
                kwargs={"reason": trigger.value, "accounts": [list(pair) for pair in accounts]},
                queue=planned if trigger is Trigger.PLANNED or callback else URGENT,
                expires=MESSAGE_EXPIRES_S,
            )
        except OperationalError as error:
            raise Undeliverable(str(error)) from error

    return dispatch


def empty_urgent_first(queues: Queues) -> None:
    """Have a worker empty its queues in our order: Celery's is that in which a command line names them."""
    ours = [name for name in QUEUES if name in queues.consume_from]
    queues.select([*ours, *(name for name in queues.consume_from if name not in QUEUES)])
