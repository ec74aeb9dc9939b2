"""What a worker does when it starts, forks its pool, runs a task and ends. Beat, Flower and commands load none of it."""

from __future__ import annotations

from typing import Any

from celery.concurrency.prefork import TaskPool as Prefork
from celery.signals import (
    celeryd_after_setup,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
)

from worker.app import app, settings
from worker.broker.queues import CALLBACK
from worker.callbacks.catalog import configured_callbacks
from worker.callbacks.sandbox.limits import hide_memory
from worker.celery.bootsteps import Alone, Liveness, Reports
from worker.celery.callback_heartbeat import announce_callbacks, stop_announcing, withdraw_callbacks
from worker.celery.dispatch import empty_urgent_first
from worker.context import AppContext
from worker.errors import RefreshdError
from worker.log import correlate, log
from worker.monitoring.clocks import Clocks
from worker.monitoring.metrics_server import begin_to_send, prepare_pool, serve_metrics, stop_sending
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
def _check_before_work(sender: str, instance: Any, **_: Any) -> None:
    """Refuse to start on what can't work, and keep callbacks off pools that have no time limits."""
    try:
        stores = AppContext(settings)
        stores.cipher, stores.engine, stores.providers, stores.endpoints  # noqa: B018  (each says what is wrong with it)
        if CALLBACK in instance.app.amqp.queues.consume_from:  # other workers have no use for their secrets
            configured_callbacks(settings)
        stores.engine.dispose()
    except RefreshdError as error:
        log.error("startup_failed", error=str(error))
        raise SystemExit(error.exit_code) from None
    empty_urgent_first(instance.app.amqp.queues)
    hide_memory()  # from callbacks, which run as the same user on this machine
    if issubclass(instance.pool_cls, Prefork) and settings.metrics_port is not None:
        prepare_pool()
    if CALLBACK not in instance.app.amqp.queues.consume_from:
        return
    if issubclass(instance.pool_cls, Prefork):
        run_callbacks_here(sender)
        return
    instance.app.amqp.queues.deselect(CALLBACK)
    log.warning("callbacks_need_prefork", queue=CALLBACK, pool=instance.pool_cls.__module__)


@worker_ready.connect
def _serve_metrics(**_: Any) -> None:
    serve_metrics(settings)


@worker_process_init.connect
def _begin_beside_the_tasks(**_: Any) -> None:
    begin_to_send()
    announce_callbacks()


@worker_process_shutdown.connect
def _store_what_arrived_in_this_process(**_: Any) -> None:
    stop_announcing()
    close_runtime()
    stop_sending()


@worker_shutdown.connect
def _store_what_arrived(**_: Any) -> None:
    withdraw_callbacks(settings)
    close_runtime()
