"""`refreshd.reconcile`: put into Redis what it lacks, and finish what a command began."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tasks._periodic import periodic
from worker.log import log
from worker.monitoring.metrics import worker_metrics
from worker.runtime import runtime


@periodic("refreshd.reconcile", event="not_reconciled", words="not reconciled")
def reconcile() -> dict[str, Any]:
    """Publish every live token that Redis lacks, soonest needed first; have accounts take over their clients' changes."""
    here = runtime()
    taken_over = here.client_changes().finish()
    if taken_over.accounts:
        log.info("client_changes_taken_over", **asdict(taken_over))
    done = here.run(here.reconciler.reconcile())
    if done is None:
        return {"held_back": "another_reconcile_is_running"}
    worker_metrics().interrupted(done.abandoned)
    if done.published or done.unreadable or done.abandoned or done.ended:
        log.info("reconcile", **asdict(done))
    return asdict(done)
