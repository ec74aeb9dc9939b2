"""`refreshd.expiring`: announce refresh tokens that come to an end which no refresh moves."""

from __future__ import annotations

from typing import Any

from tasks._periodic import periodic
from worker.app import settings
from worker.log import log
from worker.runtime import runtime


@periodic("refreshd.expiring", event="ends_not_announced", words="not announced")
def expiring() -> dict[str, Any]:
    """Announce, days before, refresh tokens that end."""
    here = runtime()
    announced = here.run(here.watch.expiring(settings.expiring_thresholds_days))
    if announced:
        log.info("expiring", announced=announced)
    return {"announced": announced}
