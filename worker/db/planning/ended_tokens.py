"""Accounts whose token has ended while they wait: they are degraded from that second on, whatever they wait for."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from msgspec import Struct
from sqlalchemy import Engine, text
from sqlmodel import col

from models.event import Event
from models.publication import PUBLISHED_COLUMNS
from models.tables.account import TOKEN_ENDED, Account, Status
from refreshd_reader.contract import PAUSED
from worker.db.accounts.plain import accounts_with, read_with
from worker.db.bulk import among
from worker.db.engine import is_sqlite, now_sql, reading, writing
from worker.db.outbox import put
from worker.db.planning.pauses import is_paused
from worker.db.publication.store import MARK_STATE_UNPUBLISHED

#: A look at each plan goes so far back: a fleet whose dead accounts are many is not walked through each second. What
#: ended earlier (an import of old tokens, a beat that was down) is found by the reconcile of each minute.
RECENT_S: Final = 300.0
#: A look at everything: longer ago than any token ends.
ALL_S: Final = 1e12


class Marked(Struct, frozen=True):
    """What one look has found and written."""

    accounts: tuple[Account, ...] = ()
    events: tuple[Event, ...] = ()
    #: The end of the latest token among them: where the next look of a pass goes on.
    last_end: float = 0.0


class EndedTokens:
    """Finds planned accounts that are active and whose token has ended, and has them be degraded.

    Args:
        engine: the database.
        event_types: types of events that go to the outbox.
    """

    def __init__(self, engine: Engine, *, event_types: AbstractSet[str] = frozenset()) -> None:
        self._engine = engine
        self._now = now_sql(engine)
        self._skip_locked = "" if is_sqlite(engine) else "FOR UPDATE SKIP LOCKED"
        self._event_types = event_types

    def mark(self, limit: int, *, within_s: float = RECENT_S, from_end: float = 0.0) -> Marked:
        """Mark accounts degraded, the token that ended first before others; each is given once.

        The reason is what the account waits for: a pause, else what its last try met, else that its token ended.
        Until it is noted that Redis has the new state, each reconcile writes it there.

        Args:
            limit: how many at most.
            within_s: tokens that ended longer ago than so many seconds are left out.
            from_end: those that ended before this moment are left out, epoch seconds.
        """
        with writing(self._engine) as connection:
            # Outside the subselect the conditions stand again for a refresh that is committed in between.
            ended = has_ended(self._now)
            rows = connection.execute(
                text(
                    f"""
                    UPDATE account SET status = :status, status_at = {self._now}, {MARK_STATE_UNPUBLISHED},
                     reason = CASE WHEN {is_paused(self._now)} THEN :paused ELSE coalesce(reason, :ended) END
                    WHERE {ended} AND id IN (
                      SELECT id FROM account WHERE {ended} AND expires_at >= :from_end
                       AND expires_at > {self._now} - :within_s
                      ORDER BY expires_at LIMIT :limit {self._skip_locked})
                    RETURNING id, generation, status_at, reason, expires_at, labels
                    """
                ),
                {
                    "status": Status.DEGRADED.value,
                    "paused": PAUSED,
                    "ended": TOKEN_ENDED,
                    "from_end": from_end,
                    "within_s": within_s,
                    "limit": limit,
                },
            ).all()
            events = tuple(
                Event(
                    type=Status.DEGRADED.value,
                    account=row[0],
                    generation=row[1],
                    reason=row[3],
                    at=row[2],
                    labels=row[5],
                )
                for row in rows
            )
            put(connection, [event for event in events if event.type in self._event_types])
        accounts = self._accounts([str(row[0]) for row in rows])
        return Marked(accounts, events, max((float(row[4]) for row in rows), default=0.0))

    def _accounts(self, ids: list[str]) -> tuple[Account, ...]:
        if not ids:
            return ()
        statement = accounts_with(PUBLISHED_COLUMNS).where(among(self._engine, col(Account.id), ids))
        with reading(self._engine) as connection:
            return tuple(read_with(PUBLISHED_COLUMNS, connection, statement))


def has_ended(now: str) -> str:
    """Return the SQL that tells whether a row of `account` is active, is planned, and its token has ended."""
    # `||` keeps the index of the status out: nearly every account is active, and few tokens have ended.
    return f"expires_at <= {now} AND status || '' = 'active' AND next_refresh_at IS NOT NULL"
