"""What a worker process does beside its tasks: it reads what connectors report. And what it leaves: talk among workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery, bootsteps
from celery.app.amqp import Queues
from kombu.exceptions import OperationalError

from models.attempt import Trigger
from refreshd_reader.contract import Keys
from worker.broker.queues import CALLBACK, MESSAGE_EXPIRES_S, QUEUES, REFRESH, URGENT
from worker.scheduling.planner import Dispatch, Undeliverable
from worker.scheduling.rejected_tokens import ReportReader, connect_for_reports
from worker.settings import load_settings


def dispatch_with(app: Celery) -> Dispatch:
    """Give the function that sends refresh messages."""

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


class Alone(bootsteps.Step):
    """Switches gossip and mingle off, whatever the command line says.

    Nothing here elects a worker or revokes a task by what others say. To ask them takes a second at each start, and
    the Redis user of workers may not listen to their events (`deploy/redis/users.acl`): a worker that tries ends.
    """

    def __init__(self, parent: Any, **_: Any) -> None:
        # The consumer is made last, of these.
        parent.options |= {"without_gossip": True, "without_mingle": True}


class Reports(bootsteps.StartStopStep):
    """Reads `refreshd:rejected` in every worker that takes urgent refreshes."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, _parent: Any, **_: Any) -> None:
        self._reader: ReportReader | None = None

    def start(self, parent: Any) -> None:
        if URGENT not in parent.app.amqp.queues.consume_from:
            return
        settings = load_settings()
        redis = connect_for_reports(settings.redis)
        self._reader = ReportReader(
            redis, Keys(settings.redis_prefix), dispatch_with(parent.app), consumer=parent.hostname
        )
        self._reader.start()

    def stop(self, _parent: Any) -> None:
        if self._reader is not None:
            self._reader.stop()
