"""The Celery application: `celery -A worker.app worker|beat|flower`.

Redis is broker and nothing else here: no result backend, no countdowns. SQL says what is due; a message is a
hint that may be lost, repeated or late.
"""

from __future__ import annotations

import gc
import logging
import socket
import sys
from datetime import UTC, datetime
from typing import Any, Final

from celery import Celery
from celery.schedules import schedule
from celery.signals import beat_init, setup_logging
from kombu import Queue

from worker.broker.kombu import (
    broker_tls,
    broker_url,
    restore_by_shared_time,
    survive_garbage,
    survive_lost_connections,
    survive_refused_writes,
    transport_options,
)
from worker.broker.program import program
from worker.broker.queues import CONTROL, MESSAGE_EXPIRES_S, REFRESH, STANDARD_QUEUES, URGENT
from worker.broker.signing import CheckedTask, signer_of_this_process
from worker.clock import shared_now, steady_now
from worker.crypto.private_file import data_folder
from worker.errors import RefreshdError
from worker.log import configure_logging, log_celery
from worker.monitoring.flower import watch_safely
from worker.settings import Settings, load_settings

RECONCILE_INTERVAL_S: Final = 60
PRUNE_INTERVAL_S: Final = 600
#: Thresholds are days.
EXPIRING_INTERVAL_S: Final = 600
#: A client that its server forgot costs its accounts their tokens once these end.
REGISTRATIONS_INTERVAL_S: Final = 300
#: A person reads what webhooks tell; seconds are early enough.
WEBHOOKS_INTERVAL_S: Final = 5
#: A task that goes on for so long after its claim has ended is stuck. Long enough for both stores to come back
#: from a restart: until then, an answer is in the process' memory alone.
STUCK_AFTER_S: Final = 300

survive_lost_connections()
survive_garbage()
restore_by_shared_time()
survive_refused_writes()


def _settings_or_exit() -> Settings:
    try:
        settings = load_settings()
        settings.redis, settings.broker  # noqa: B018  (fails here, with what to do, rather than in the first task)
        data_folder(settings)
        signer_of_this_process()
    except RefreshdError as error:
        sys.exit(f"refreshd: {error}")
    return settings


class FleetApp(Celery):
    """Celery's application, whose messages end by the fleet's time."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(shared_now(), UTC).astimezone(self.timezone)


def _configured(settings: Settings) -> Celery:
    celery: Celery = FleetApp(
        "refreshd",
        broker=broker_url(settings.broker),
        # Who only sends and watches needs neither the tasks nor what they stand on.
        include=[] if program() in {"beat", "flower"} else ["tasks"],
        task_cls=CheckedTask,
    )
    celery.conf.update(
        task_queues=[Queue(name) for name in STANDARD_QUEUES],
        task_default_queue=REFRESH,
        task_routes={
            "refreshd.plan": {"queue": CONTROL},
            "refreshd.reconcile": {"queue": CONTROL},
            "refreshd.prune": {"queue": CONTROL},
            "refreshd.webhooks": {"queue": CONTROL},
            "refreshd.expiring": {"queue": CONTROL},
            "refreshd.registrations": {"queue": CONTROL},
            "refreshd.refresh": {"queue": REFRESH},
            "refreshd.intake": {"queue": URGENT},
        },
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,
        task_track_started=True,
        # Beat asks for a plan each second: what came of it is an event, where something came of it (tasks/_request.py).
        task_send_sent_event=program() != "beat",
        worker_send_task_events=True,
        worker_prefetch_multiplier=1,
        # Of prefork workers: a process that is stuck is replaced. Each run of a callback has limits of its own.
        task_time_limit=settings.claim_seconds + STUCK_AFTER_S,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport_options=transport_options(settings.broker),
        broker_use_ssl=broker_tls(settings.broker),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_acquire_timeout=10,
        beat_enable_remote_control=True,
        beat_scheduler="worker.celery.beat_scheduler:BeatScheduler",
        beat_max_loop_interval=max(settings.plan_interval_s, 1),
        beat_schedule={
            "plan": _every(settings.plan_interval_s, "refreshd.plan"),
            "reconcile": _every(RECONCILE_INTERVAL_S, "refreshd.reconcile"),
            "prune": _every(PRUNE_INTERVAL_S, "refreshd.prune"),
            "webhooks": _every(WEBHOOKS_INTERVAL_S, "refreshd.webhooks"),
            "expiring": _every(EXPIRING_INTERVAL_S, "refreshd.expiring"),
            "registrations": _every(REGISTRATIONS_INTERVAL_S, "refreshd.registrations"),
        },
    )
    return celery


def _every(seconds: float, task: str) -> dict[str, Any]:
    options = {"expires": MESSAGE_EXPIRES_S, "queue": CONTROL}
    # By the wall clock, beat would be silent for as long as that is set back.
    return {"task": task, "schedule": schedule(seconds, nowfun=steady_now), "options": options}


settings = _settings_or_exit()
watch_safely(settings)

app = _configured(settings)
gc.freeze()  # what was imported stays: neither this process nor its end looks for garbage in it


@beat_init.connect
def _watch_the_clock(**_: Any) -> None:
    """Return how far a beat's clock is off: it names the end of each message that it sends."""
    from worker.monitoring.clocks import watch_clock

    watch_clock(f"beat@{socket.gethostname()}")


@setup_logging.connect
def _log_as_refreshd_does(loglevel: int, **_: Any) -> None:
    """Keep refreshd's own lines at INFO whatever Celery is asked for: an attempt's line is its only story."""
    configure_logging("DEBUG" if loglevel <= logging.DEBUG else "INFO")
    log_celery(loglevel)
