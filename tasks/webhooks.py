"""`refreshd.webhooks`: send webhooks."""

from __future__ import annotations

from typing import Any

from tasks._periodic import periodic
from worker.log import log
from worker.notifications.webhook_sender import summary
from worker.runtime import runtime


@periodic("refreshd.webhooks", event="webhooks_not_told", words="not told")
def webhooks() -> dict[str, Any]:
    """Make messages of events, and deliver those that are due."""
    here = runtime()
    here.run(here.watch.recovered())
    told = here.run(here.webhook_sender.tell())
    if told is None:
        return {"held_back": "another_run_is_under_way"}
    done = summary(told)
    if any(done.values()):
        log.info("webhooks", **done)
    return done
