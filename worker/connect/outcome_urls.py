"""Where a session's browser goes at its end: back to the platform, with what became of the session in the query."""

from __future__ import annotations

from models.tables.connect_session import ConnectSession, ConnectStatus
from worker.accounts.return_urls import with_outcome
from worker.connect import reasons


def outcome_url(session: ConnectSession) -> str:
    """Return where the browser of a session that has ended goes."""
    return with_outcome(
        session.return_url,
        {
            "session": session.id,
            "account": session.account,
            "status": session.status,
            "reason": session.reason,
        },
    )


def lost_url(session: ConnectSession) -> str:
    """Return where a browser goes that is not the session's own."""
    return with_outcome(
        session.return_url,
        {
            "session": session.id,
            "account": session.account,
            "status": ConnectStatus.FAILED.value,
            "reason": str(reasons.LOST_SESSION),
        },
    )
