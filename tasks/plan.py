"""`refreshd.plan`: beat asks for it every second."""

from __future__ import annotations

from typing import Any

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tasks._periodic import periodic
from worker.app import app
from worker.broker.queues import MESSAGE_EXPIRES_S
from worker.celery.dispatch import dispatch_with
from worker.log import log
from worker.monitoring.metrics import worker_metrics
from worker.runtime import runtime


def count_failure() -> dict[str, Any]:
    """Count a plan that was not made; return what its result has."""
    worker_metrics().planned("failed", 0)
    return {"planned": 0}


@periodic(
    "refreshd.plan",
    event="not_planned",
    words="not planned",
    also=(OperationalError, RedisError),
    failed=count_failure,
)
def plan() -> dict[str, Any]:
    """Dispatch due accounts; mark accounts whose token has ended; have Redis filled where it lacks anything."""
    here = runtime()
    compare = not here.comparison.rests() and here.run(here.comparison.needed())
    if not compare and here.idle_check.is_idle():
        worker_metrics().planned("idle", 0)
        return {"planned": 0}
    if compare or here.run(here.reconciler.needed()):
        app.send_task("refreshd.reconcile", expires=MESSAGE_EXPIRES_S)
    done = here.planner(dispatch_with(app)).plan()
    ended = here.run(here.token_ends.sweep())
    worker_metrics().planned(done.held_back or "planned", done.accounts)
    summary: dict[str, Any] = {"planned": done.accounts, "messages": done.messages}
    if done.held_back:
        summary["held_back"] = done.held_back
    if ended:
        summary["ended"] = ended
    if done.accounts or ended:
        log.info("plan", **summary)
    return summary
