"""The SQL of clients' secrets that end: each end is announced once a threshold, and shown while it is near."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Engine, text

from models.event import Event
from models.tables.account import SAME_END_S
from worker.db.engine import now_sql, reading, writing
from worker.db.outbox import put

_DAY_S: Final = 86400.0


class EndingSecret(Struct, frozen=True):
    """A client's secret that ends soon or has ended, and how many accounts name the client."""

    client: str
    provider: str
    expires_at: float
    accounts: int

    def as_json(self) -> dict[str, Any]:
        """Return the fields for scripts."""
        return asdict(self)


class ClientSecrets:
    """Ends of clients' secrets, and which of them were announced.

    Args:
        engine: the database.
        event_types: types of events that go to the outbox, in the same commit.
    """

    def __init__(self, engine: Engine, event_types: Collection[str]) -> None:
        self._engine = engine
        self._event_types = event_types
        self._now = now_sql(engine)

    def announce(self, days: Sequence[float], *, kind: str, reason: str) -> list[Event]:
        """Note the clients whose secret's end is near, and return an event for each.

        The event's `client` is the client's id, as in every other event; its name here where it has none.

        Args:
            days: thresholds before the end, smallest first. An end that has passed several is announced for the nearest.
            kind: the type of the events.
            reason: their reason.
        """
        with writing(self._engine) as connection:
            events: list[Event] = []
            for nearer, within in zip((0.0, *days), days, strict=False):
                # The second of two passes at once finds it noted: it is announced once.
                rows = connection.execute(
                    text(
                        f"""
                        UPDATE client SET announced_end = secret_expires_at, announced_days = :days
                        WHERE secret_expires_at > {self._now} + :nearer_s AND secret_expires_at <= {self._now} + :within_s
                         AND (announced_end IS NULL OR announced_days > :days
                          OR abs(announced_end - secret_expires_at) > :same_s)
                        RETURNING coalesce(client_id, name), provider, secret_expires_at, {self._now}
                        """
                    ),
                    {
                        "days": within,
                        "nearer_s": nearer * _DAY_S,
                        "within_s": within * _DAY_S,
                        "same_s": SAME_END_S,
                    },
                )
                events += [
                    Event(
                        type=kind, client=client, provider=provider, reason=reason, at=now, expires_at=ends_at
                    )
                    for client, provider, ends_at, now in rows
                ]
            if kind in self._event_types:
                put(connection, events)
        return events


def ending(engine: Engine, *, within_days: float) -> list[EndingSecret]:
    """Return the secrets that end within so many days, or have ended while accounts name their client; soonest first."""
    with reading(engine) as connection:
        rows = connection.execute(
            text(
                f"""
                SELECT name, provider, secret_expires_at,
                 (SELECT count(*) FROM account WHERE account.client = client.name) AS accounts
                FROM client WHERE secret_expires_at <= {now_sql(engine)} + :within_s ORDER BY secret_expires_at, name
                """
            ),
            {"within_s": within_days * _DAY_S},
        )
        return [EndingSecret(str(row[0]), str(row[1]), float(row[2]), int(row[3])) for row in rows]
