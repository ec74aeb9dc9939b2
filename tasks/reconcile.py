"""`refreshd.reconcile`: put into Redis what it lacks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tasks._request import TaskRequest, retried
from worker.app import app
from worker.errors import Unreachable
from worker.log import log
from worker.monitoring.metrics import worker_metrics
from worker.runtime import runtime


@app.task(name="refreshd.reconcile", Request=TaskRequest)
def reconcile() -> dict[str, Any]:
    """Publish every live token that Redis lacks, soonest needed first."""
    try:
        here = runtime()
        done = here.run(here.reconciler.reconcile())
    except Unreachable as error:
        log.error("not_reconciled", error=str(error))
        retried(f"not reconciled: {error}", {"error": str(error)})
    if done is None:
        return {"held_back": "another_reconcile_is_running"}
    worker_metrics().interrupted(done.abandoned)
    if done.published or done.unreadable or done.abandoned or done.ended:
        log.info("reconcile", **asdict(done))
    return asdict(done)
