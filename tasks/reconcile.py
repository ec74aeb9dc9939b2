"""`refreshd.reconcile`: put into Redis what it lacks or has lost, and finish what a command began."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from tasks._periodic import periodic
from worker.db.repair.lost_commits import keep_after_promotion
from worker.log import log
from worker.monitoring.metrics import worker_metrics
from worker.redis.client import in_words
from worker.runtime import Runtime, runtime


@periodic("refreshd.reconcile", event="not_reconciled", words="not reconciled")
def reconcile() -> dict[str, Any]:
    """Publish every live token that Redis lacks, soonest needed first; then compare a part of it with SQL.

    Accounts take over their clients' changes, and answers that a promoted replica lacks are kept.
    """
    here = runtime()
    taken_over = here.client_changes().finish()
    if taken_over.accounts:
        log.info("client_changes_taken_over", **asdict(taken_over))
    with in_words(here.settings.redis):
        kept = keep_after_promotion(here.engine, here.redis, here.keys, holder=here.worker)
    done = here.run(here.reconciler.reconcile())
    if done is None:
        return {"held_back": "another_reconcile_is_running", "answers_kept": kept}
    lost = _compare(here)
    worker_metrics().interrupted(done.abandoned)
    if done.published or done.unreadable or done.abandoned or done.ended:
        log.info("reconcile", **asdict(done))
    return {**asdict(done), "answers_kept": kept} | lost


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
