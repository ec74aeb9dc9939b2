"""`refreshd.reconcile`: put into Redis what it lacks, and look for what it lost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tasks._periodic import periodic
from worker.log import log
from worker.monitoring.metrics import worker_metrics
from worker.runtime import Runtime, runtime


@periodic("refreshd.reconcile", event="not_reconciled", words="not reconciled")
def reconcile() -> dict[str, Any]:
    """Publish every live token that Redis lacks, soonest needed first; then compare a part of it with SQL."""
    here = runtime()
    done = here.run(here.reconciler.reconcile())
    if done is None:
        return {"held_back": "another_reconcile_is_running"}
    lost = _compare(here)
    worker_metrics().interrupted(done.abandoned)
    if done.published or done.unreadable or done.abandoned or done.ended:
        log.info("reconcile", **asdict(done))
    return asdict(done) | lost


def _compare(here: Runtime) -> dict[str, int]:
    """Make a step of the comparison, and publish at once what Redis had lost."""
    compared = here.run(here.comparison.step())
    if compared is None:
        return {}
    worker_metrics().compared(compared.why, compared.missing)
    if not compared.missing:
        return {"compared": compared.accounts}
    mended = here.run(here.reconciler.reconcile())
    return {
        "compared": compared.accounts,
        "missing": compared.missing,
        "mended": 0 if mended is None else mended.published,
    }
