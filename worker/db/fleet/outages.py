"""The SQL of outages that were announced: each provider or client once, and once its end."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Engine, text
from sqlmodel import Session, col, select

from models.event import Event
from models.tables.outbox import ToldOutage
from worker.db.engine import now_sql, reading, writing
from worker.db.outbox import put

#: An outage that lasts is announced again after this long: once a day is a reminder, more often is noise.
TELL_AGAIN_S: Final = 86400.0


class Outages:
    """Providers that are down for everybody, and clients that their provider refuses.

    Args:
        engine: the database.
        event_types: types of events that go to the outbox, in the same commit.
    """

    def __init__(self, engine: Engine, event_types: Collection[str]) -> None:
        self._engine = engine
        self._event_types = event_types
        self._now = now_sql(engine)

    def began(self, breaker: str, event: Event) -> bool:
        """Note that a breaker opened, and return whether that is new."""
        with writing(self._engine) as connection:
            noted = connection.execute(
                text(
                    f"""
                    INSERT INTO outage (breaker, provider, client, reason, since, told_at)
                    VALUES (:breaker, :provider, :client, :reason, {self._now}, {self._now})
                    ON CONFLICT (breaker) DO UPDATE SET told_at = excluded.told_at, reason = excluded.reason
                    WHERE outage.told_at <= excluded.told_at - :again_s RETURNING breaker
                    """
                ),
                {
                    "breaker": breaker,
                    "provider": event.provider or "",
                    "client": event.client or "",
                    "reason": event.reason,
                    "again_s": TELL_AGAIN_S,
                },
            ).first()
            if noted is not None and event.type in self._event_types:
                put(connection, [event])
        return noted is not None

    def ongoing(self) -> list[ToldOutage]:
        """Return the outages whose end was not announced."""
        statement = select(ToldOutage).order_by(col(ToldOutage.since))
        with reading(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            return list(session.exec(statement))

    def ended(self, breaker: str, event: Event) -> bool:
        """Note that an outage is over, and return whether that is new."""
        with writing(self._engine) as connection:
            gone = connection.execute(
                text("DELETE FROM outage WHERE breaker = :breaker RETURNING breaker"), {"breaker": breaker}
            ).first()
            if gone is not None and event.type in self._event_types:
                put(connection, [event])
        return gone is not None
