"""`refreshd.expiring`: announce refresh tokens that come to an end which no refresh moves."""

from __future__ import annotations

from typing import Any

from tasks._request import TaskRequest, retried
from worker.app import app, settings
from worker.errors import Unreachable
from worker.log import log
from worker.runtime import runtime


@app.task(name="refreshd.expiring", Request=TaskRequest)
def expiring() -> dict[str, Any]:
    """Tell, days before, whose grant ends."""
    try:
        here = runtime()
        announced = here.run(here.watch.expiring(settings.expiring_thresholds_days))
    except Unreachable as error:
        log.error("ends_not_announced", error=str(error))
        retried(f"not announced: {error}", {"error": str(error)})
    if announced:
        log.info("expiring", announced=announced)
    return {"announced": announced}
