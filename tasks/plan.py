"""`refreshd.plan`: beat asks for it every second."""

from __future__ import annotations

from typing import Any

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tasks._request import TaskRequest, retried
from worker.app import app
from worker.broker.queues import MESSAGE_EXPIRES_S
from worker.celery.dispatch import dispatch_with
from worker.errors import Unreachable
from worker.log import log
from worker.monitoring.metrics import worker_metrics
from worker.runtime import runtime


@app.task(name="refreshd.plan", Request=TaskRequest)
def plan() -> dict[str, Any]:
    """Claim due accounts and dispatch them; say whose token has ended; have Redis filled where it lacks anything."""
    try:
        here = runtime()
        if here.run(here.reconciler.needed()):
            app.send_task("refreshd.reconcile", expires=MESSAGE_EXPIRES_S)
        done = here.planner(dispatch_with(app)).plan()
        ended = here.run(here.token_ends.sweep())
    except (Unreachable, OperationalError, RedisError) as error:
        log.error("not_planned", error=str(error))
        worker_metrics().planned("failed", 0)
        retried(f"not planned: {error}", {"planned": 0, "error": str(error)})
    worker_metrics().planned(done.held_back or "planned", done.accounts)
    summary: dict[str, Any] = {"planned": done.accounts, "messages": done.messages}
    if done.held_back:
        summary["held_back"] = done.held_back
    if ended:
        summary["ended"] = ended
    if done.accounts or ended:
        log.info("plan", **summary)
    return summary
