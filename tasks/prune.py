"""`refreshd.prune`: execution history is kept for a time and a number, no more."""

from __future__ import annotations

from typing import Any

from tasks.shown import ShownRequest, retried
from worker.app import app, settings
from worker.errors import Unreachable
from worker.events import log
from worker.runtime import runtime


@app.task(name="refreshd.prune", Request=ShownRequest)
def prune() -> dict[str, Any]:
    """Delete attempts that are too old, or too many of one account."""
    here = runtime()
    try:
        deleted = here.history.prune(
            older_than_s=settings.history_days * 86400, keep_per_account=settings.history_per_account
        )
    except Unreachable as error:
        log.error("not_pruned", error=str(error))
        retried(f"not pruned: {error}", {"error": str(error)})
    return {"deleted": deleted}
