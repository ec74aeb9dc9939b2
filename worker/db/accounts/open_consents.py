"""The SQL of Connect sessions whose account is removed: its customers are at the provider still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from models.tables.connect_session import (
    ACCOUNT_REMOVED,
    INTERRUPTED,
    NEXT,
    NOT_STORED,
    ConnectStatus,
    Step,
)
from worker.db.bulk import execute
from worker.db.engine import now_sql

#: A worker that was given up on has stored its grant by then, or never will.
LATE_S: Final = 900.0


def end_of_accounts(connection: Connection, ids: Sequence[str]) -> None:
    """End the sessions of accounts that are removed in this transaction: what they bring belongs to no later account."""
    now, moves = now_sql(connection.engine), NEXT[Step.ORPHAN]
    statuses = ", ".join(f"'{status.value}'" for status in moves)
    execute(
        connection,
        {"id": "text"},
        f"""
        UPDATE connect_session SET status = '{ConnectStatus.FAILED.value}', reason = '{NOT_STORED}',
         detail = '{ACCOUNT_REMOVED}', ends_at = {now}, custom_fields_sealed = NULL
        WHERE account IN (SELECT id FROM r) AND status IN ({statuses}) AND ends_at > {now} - {LATE_S}
         AND (status <> '{ConnectStatus.FAILED.value}' OR reason = '{INTERRUPTED}')
        """,
        [{"id": account_id} for account_id in ids],
    )
