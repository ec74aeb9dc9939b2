"""What a worker does when it starts, runs a task and ends. Beat, Flower and commands load none of it."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from celery.concurrency.prefork import TaskPool as Prefork
from celery.concurrency.thread import TaskPool as Threads
from celery.signals import (
    celeryd_after_setup,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from worker.app import app, settings
from worker.broker.queues import CALLBACK, CALLBACK_WORKER
from worker.callbacks.catalog import configured_callbacks
from worker.callbacks.sandbox.limits import hide_memory
from worker.celery.bootsteps import Alone, Liveness, Reports
from worker.celery.callback_heartbeat import start_heartbeat, stop_heartbeat
from worker.celery.dispatch import empty_urgent_first
from worker.celery.key_ids import note_key_ids
from worker.context import AppContext
from worker.db.planning.missing_keys import wake
from worker.db.waiting import once_reachable
from worker.ending import note_end
from worker.errors import DatabaseUnreachable, RefreshdError, SettingsError
from worker.log import correlate, log
from worker.monitoring.clocks import Clocks
from worker.monitoring.metrics import worker_metrics
from worker.monitoring.metrics_server import serve_metrics
from worker.monitoring.traces import start_traces, stop_traces
from worker.policy.reasons.correction import KEY_MISSING
from worker.runtime import close_runtime, run_callbacks_here

app.steps["worker"].update({Alone, Clocks, Liveness, Reports})


@task_prerun.connect
def _say_which_task(task_id: str, task: Any, **_: Any) -> None:
    """Every line of a task carries its id, and the id of the plan that it came from: one grep tells a group's story."""
    root = task.request.root_id
    correlate(task_id=task_id, plan_id=root if root != task_id else None)


@task_postrun.connect
def _say_no_more(**_: Any) -> None:
    correlate()


@celeryd_after_setup.connect
def _check_before_work(instance: Any, **_: Any) -> None:
    """Refuse to start on what can't work."""
    runs_callbacks = CALLBACK in instance.app.amqp.queues.consume_from
    try:
        if runs_callbacks:  # other workers have no use for their secrets
            _check_pool_of_callbacks(instance.pool_cls)
            configured_callbacks(settings)
        stores = AppContext(settings)
        stores.cipher, stores.providers, stores.endpoints  # noqa: B018  (each says what is wrong with it)
        once_reachable(lambda: stores.engine)
        note_key_ids(stores.cipher.key_ids)
        _wake_those_that_lacked_a_key(stores)
        stores.engine.dispose()
        if settings.traces:
            start_traces(version=version("refreshd"), in_events=settings.traces_in_events)
    except RefreshdError as error:
        log.error("startup_failed", error=str(error))
        raise SystemExit(error.exit_code) from None
    empty_urgent_first(instance.app.amqp.queues)
    hide_memory()  # from callbacks, which run as the same user on this machine
    if runs_callbacks:
        run_callbacks_here(instance.concurrency)


def _wake_those_that_lacked_a_key(stores: AppContext) -> None:
    """Make accounts due that waited for a key which this worker has; their own next try may be an hour away."""
    try:
        woken = wake(stores.engine, stores.cipher.key_ids)
    except DatabaseUnreachable as error:  # it can be read, and not written: their next try comes all the same
        log.warning("accounts_not_made_due", reason=KEY_MISSING, error=str(error))
        return
    if woken:
        log.info("accounts_made_due", reason=KEY_MISSING, accounts=woken)


def _check_pool_of_callbacks(pool: type) -> None:
    """Raise SettingsError where callbacks can't run on this pool: each run is a process with limits of its own already."""
    if not issubclass(pool, Threads):
        raise SettingsError(
            f"callbacks run on the threads pool, not on {pool.__module__}: start their worker with "
            f"`{CALLBACK_WORKER}`, others without `{CALLBACK}` in -Q"
        )


@worker_ready.connect
def _begin_beside_the_tasks(sender: Any, **_: Any) -> None:
    serve_metrics(settings, in_one_process=not issubclass(sender.controller.pool_cls, Prefork))
    if CALLBACK in sender.app.amqp.queues.consume_from:
        start_heartbeat(sender.hostname)


@worker_process_init.connect
def _count_anew(**_: Any) -> None:
    """Make counters of this forked process' own: a lock of the inherited ones could have been held at the fork."""
    worker_metrics.cache_clear()


@worker_shutting_down.connect
def _begin_nothing_new(**_: Any) -> None:
    note_end()


@worker_process_shutdown.connect
def _store_what_arrived_in_this_process(**_: Any) -> None:
    close_runtime()
    stop_traces()


@worker_shutdown.connect
def _store_what_arrived(**_: Any) -> None:
    stop_heartbeat(settings)
    close_runtime()
    stop_traces()
