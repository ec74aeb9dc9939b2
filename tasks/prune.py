"""`refreshd.prune`: history, audit trail and webhooks are kept for a time and a number, no more."""

from __future__ import annotations

from typing import Any, Final

from tasks._periodic import periodic
from worker.app import PRUNE_INTERVAL_S, settings
from worker.db.intake.connect_sessions import ConnectSessions
from worker.runtime import runtime
from worker.scheduling.planner import CLAIM_MAX

#: A webhook that was delivered is kept for this long, for whoever asks whether it was.
DELIVERED_KEPT_S: Final = 86400.0
#: Longer than the time between two runs, so that one that was missed is made up for.
BUSY_WITHIN_S: Final = 3 * PRUNE_INTERVAL_S


@periodic("refreshd.prune", event="not_pruned", words="not pruned")
def prune() -> dict[str, Any]:
    """Delete attempts that are too old, or too many of one account, old entries of the audit trail, and done webhooks.

    Connect sessions that ended a week ago go, too. It also has accounts planned again that a pause set aside in the moment in which it ended.
    """
    here = runtime()
    deleted = here.history.prune(
        older_than_s=settings.history_days * 86400,
        keep_per_account=settings.history_per_account,
        busy_within_s=BUSY_WITHIN_S,
    )
    webhooks = here.outbox.prune(delivered_s=DELIVERED_KEPT_S, dead_lettered_s=settings.history_days * 86400)
    audited = here.audit.prune(older_than_s=settings.audit_days * 86400)
    stray = here.pauses.bring_back_stray(CLAIM_MAX)
    sessions = ConnectSessions(here.engine, exchange_s=settings.claim_seconds).prune()
    return {
        "connect_sessions": sessions,
        "deleted": deleted,
        "webhooks": webhooks,
        "audit": audited,
        "brought_back": stray,
    }
