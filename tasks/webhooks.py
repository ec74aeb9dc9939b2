"""`refreshd.webhooks`: tell webhooks what happened."""

from __future__ import annotations

from typing import Any

from tasks._request import TaskRequest, retried
from worker.app import app
from worker.errors import Unreachable
from worker.log import log
from worker.notifications.webhook_sender import summary
from worker.runtime import runtime


@app.task(name="refreshd.webhooks", Request=TaskRequest)
def webhooks() -> dict[str, Any]:
    """Make messages of what happened, and deliver those that are due."""
    try:
        here = runtime()
        here.run(here.watch.recovered())
        told = here.run(here.webhook_sender.tell())
    except Unreachable as error:
        log.error("webhooks_not_told", error=str(error))
        retried(f"not told: {error}", {"error": str(error)})
    if told is None:
        return {"held_back": "another_run_is_under_way"}
    done = summary(told)
    if any(done.values()):
        log.info("webhooks", **done)
    return done
