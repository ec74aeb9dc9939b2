"""Paused accounts whose token ends: no plan looks at them, so that somebody has to say what became of it."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from sqlalchemy import Engine, text
from sqlmodel import Session, col, select

from models.account import Account, Status
from models.pause import PAUSED
from worker.io.database import now_sql, reading, writing
from worker.io.marks import UNTOLD
from worker.io.outbox import put
from worker.io.pauses import is_paused
from worker.io.shelf import Event


class PausedAccounts:
    """Finds them and marks them.

    Args:
        engine: the database.
        told: the types of events that a webhook wants.
    """

    def __init__(self, engine: Engine, *, told: AbstractSet[str] = frozenset()) -> None:
        self._engine = engine
        self._now = now_sql(engine)
        self._told = told

    def mark(self, limit: int) -> tuple[list[Account], list[Event]]:
        """Have active ones whose token has ended be degraded; gives them, and what is to be told of them.

        Until it is noted that Redis has been told, each reconcile tells it.
        """
        with writing(self._engine) as connection:
            # `||` keeps SQLite from the index of the status: nearly every account is active, and few tokens have ended.
            rows = connection.execute(
                text(
                    f"""
                    UPDATE account SET status = :status, reason = :reason, status_at = {self._now},
                     {UNTOLD} WHERE id IN (
                      SELECT id FROM account WHERE expires_at <= {self._now} AND status || '' = 'active'
                       AND next_refresh_at IS NOT NULL AND {is_paused(self._now)} LIMIT :limit)
                    RETURNING id, generation, status_at
                    """
                ),
                {"status": Status.DEGRADED.value, "reason": PAUSED, "limit": limit},
            ).all()
            events = [
                Event(type=Status.DEGRADED.value, account=row[0], generation=row[1], reason=PAUSED, at=row[2])
                for row in rows
            ]
            put(connection, [event for event in events if event.type in self._told])
        return self._accounts([str(row[0]) for row in rows]), events

    def _accounts(self, ids: list[str]) -> list[Account]:
        if not ids:
            return []
        with reading(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            return list(session.exec(select(Account).where(col(Account.id).in_(ids))))
