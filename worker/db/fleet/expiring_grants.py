"""The SQL of refresh tokens with a fixed end: found by an index, each announced once a threshold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection, Engine, text

from models.event import Event
from models.tables.account import SAME_END_S
from worker.db.bulk import execute
from worker.db.engine import now_sql, writing
from worker.db.outbox import put

#: Accounts in one commit.
BATCH: Final = 1_000
_DAY_S: Final = 86400.0
_END: Final = {"account": "text", "ends_at": "double precision", "days": "double precision"}


class Ends:
    """Fixed ends of refresh tokens, and which of them were announced.

    Args:
        engine: the database.
        event_types: types of events that go to the outbox, in the same commit.
    """

    def __init__(self, engine: Engine, event_types: Collection[str]) -> None:
        self._engine = engine
        self._event_types = event_types
        self._now = now_sql(engine)

    def announce(self, days: Sequence[float], *, kind: str, reason: str, batch: int = BATCH) -> list[Event]:
        """Note the next accounts whose end is near, and return an event for each; none if all are noted.

        Args:
            days: thresholds before the end, smallest first. An account that has passed several is
                announced for the nearest.
            kind: the type of the events.
            reason: their reason.
            batch: accounts at the most.
        """
        with writing(self._engine) as connection:
            for nearer, within in zip((0.0, *days), days, strict=False):
                near = self._near(connection, nearer, within, batch)
                if near:
                    events = self._note(connection, near, within, kind, reason)
                    if kind in self._event_types:
                        put(connection, events)
                    return events
            connection.execute(
                text(f"DELETE FROM announced_end WHERE ends_at < {self._now} - :day_s"), {"day_s": _DAY_S}
            )
        return []

    def _near(
        self, connection: Connection, nearer: float, within: float, batch: int
    ) -> dict[str, tuple[int, float, float, str]]:
        """Return accounts between two thresholds that were not announced: id -> generation, end, now, labels."""
        rows = connection.execute(
            text(
                f"""
                SELECT account.id, account.generation, account.refresh_token_expires_at, {self._now},
                 account.labels FROM account LEFT JOIN announced_end AS known ON known.account = account.id
                WHERE account.refresh_token_end_fixed AND account.status NOT IN ('disabled', 'reauthorize')
                 AND account.refresh_token_expires_at > {self._now} + :nearer_s
                 AND account.refresh_token_expires_at <= {self._now} + :within_s
                 AND (known.account IS NULL OR known.days > :days
                  OR abs(known.ends_at - account.refresh_token_expires_at) > :same_s)
                ORDER BY account.refresh_token_expires_at LIMIT :batch
                """
            ),
            {
                "nearer_s": nearer * _DAY_S,
                "within_s": within * _DAY_S,
                "days": within,
                "same_s": SAME_END_S,
                "batch": batch,
            },
        ).all()
        return {str(row[0]): (int(row[1]), float(row[2]), float(row[3]), str(row[4])) for row in rows}

    def _note(
        self,
        connection: Connection,
        near: dict[str, tuple[int, float, float, str]],
        days: float,
        kind: str,
        reason: str,
    ) -> list[Event]:
        # The second of two passes at once finds it noted: it is announced once.
        noted = execute(
            connection,
            _END,
            f"""
            INSERT INTO announced_end (account, ends_at, days) SELECT r.account, r.ends_at, r.days FROM r WHERE true
            ON CONFLICT (account) DO UPDATE SET ends_at = excluded.ends_at, days = excluded.days
            WHERE announced_end.days > excluded.days OR abs(announced_end.ends_at - excluded.ends_at) > {SAME_END_S}
            RETURNING account
            """,
            [{"account": one, "ends_at": facts[1], "days": days} for one, facts in sorted(near.items())],
        )
        return [
            Event(
                type=kind,
                account=account,
                generation=near[account][0],
                reason=reason,
                at=near[account][2],
                expires_at=near[account][1],
                labels=near[account][3],
            )
            for (account,) in noted
        ]
