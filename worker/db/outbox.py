"""The SQL of the outbox: happenings in, messages out, and what became of each."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Connection, Engine, text
from sqlmodel import Session, col, select

from models.event import Event
from models.label import NO_LABELS
from models.tables.outbox import Message, OutboxEvent
from worker.db.bulk import execute
from worker.db.engine import now_sql, reading, writing

#: Columns of a happening, and their types on PostgreSQL.
COLUMNS: Final = {
    "id": "text",
    "type": "text",
    "account": "text",
    "provider": "text",
    "client": "text",
    "generation": "bigint",
    "reason": "text",
    "at": "double precision",
    "ends_at": "double precision",
}
_MESSAGE: Final = {
    "id": "text",
    "endpoint": "text",
    "type": "text",
    "topic": "text",
    "subject": "text",
    "body": "text",
    "happenings": "bigint",
}
_OUTCOME: Final = {
    "id": "text",
    "endpoint": "text",
    "http_status": "bigint",
    "error": "text",
    "after_s": "double precision",
    "given_up": "bigint",
}
#: Sorts what this process writes within one millisecond.
_numbers = count()


class Topic(Struct, frozen=True):
    """Happenings that wait and may be folded: of one type, about one provider or client."""

    type: str
    provider: str
    client: str
    waiting: int
    oldest_s: float
    #: Happenings of the topic that were told within the window.
    lately: int

    @property
    def name(self) -> str:
        return topic_name(self.type, self.provider, self.client)


class DeliveryOutcome(Struct, frozen=True):
    """What became of one delivery. `after_s`: seconds until it is tried again; None: it is over."""

    id: str
    endpoint: str
    http_status: int | None
    error: str | None
    after_s: float | None
    given_up: bool = False


class Backlog(Struct, frozen=True):
    """Numbers of one endpoint's messages. Times are epoch seconds."""

    endpoint: str
    waiting: int
    oldest_at: float | None
    dead_lettered: int
    delivered: int
    #: What the newest failed attempt of a waiting message got.
    last_error: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields for scripts; `put_aside` is the name of the release before."""
        return asdict(self) | {"put_aside": self.dead_lettered}


def topic_name(kind: str, provider: str, client: str) -> str:
    """Name what is folded together."""
    return f"{kind}\x1f{provider}\x1f{client}"


def new_id(prefix: str, at: float) -> str:
    """Make an id that sorts by time, and within one process by the order in which it was made."""
    return (
        f"{prefix}{int(at * 1000) & 0xFFFFFFFFFFFF:012x}{next(_numbers) & 0xFFFFFF:06x}{secrets.token_hex(4)}"
    )


def put(connection: Connection, events: Sequence[Event]) -> None:
    """Write happenings, in the transaction of what made them happen.

    Args:
        connection: an open transaction.
        events: of accounts, whose provider and client are looked up, or of a provider or client as a whole.
    """
    execute(connection, COLUMNS, insert("r", "r"), rows_of(events))


def insert(source: str, rows: str) -> str:
    """Return the statement that writes happenings.

    Args:
        source: the FROM clause that gives them.
        rows: the name of the relation there that has `COLUMNS`.
    """
    return f"""
        INSERT INTO outbox ({", ".join(COLUMNS)}, labels)
        SELECT {rows}.id, {rows}.type, {rows}.account, coalesce({rows}.provider, account.provider, ''),
         coalesce({rows}.client, account.client_id, ''), {rows}.generation, {rows}.reason, {rows}.at, {rows}.ends_at,
         coalesce(account.labels, '{NO_LABELS}')
        FROM {source} LEFT JOIN account ON account.id = {rows}.account WHERE true
        """


def rows_of(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return the rows that `insert` writes."""
    return [
        {
            "id": new_id("", event.at),
            "type": event.type,
            "account": event.account,
            "provider": event.provider,
            "client": event.client if event.account is None else None,
            "generation": event.generation,
            "reason": event.reason,
            "at": event.at,
            "ends_at": event.expires_at,
        }
        for event in events
    ]


class Outbox:
    """Happenings that wait, and messages on their way."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._now = now_sql(engine)

    def note(self, events: Sequence[Event]) -> None:
        """Write happenings that belong to no other transaction."""
        with writing(self._engine) as connection:
            put(connection, events)

    def topics(self, window_s: float) -> list[Topic]:
        """Return what waits to be made messages."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                text(
                    f"""
                    SELECT type, provider, client, count(*), {self._now} - min(at) FROM outbox
                    GROUP BY type, provider, client ORDER BY min(at)
                    """
                )
            ).all()
            return [
                Topic(kind, provider, client, waiting, oldest_s, self._lately(connection, name, window_s))
                for kind, provider, client, waiting, oldest_s in rows
                if (name := topic_name(kind, provider, client))
            ]

    def _lately(self, connection: Connection, topic: str, window_s: float) -> int:
        sql = f"""
            SELECT coalesce(sum(happenings), 0) FROM (
              SELECT DISTINCT id, happenings FROM webhook WHERE topic = :topic AND created_at > {self._now} - :window_s
            ) AS messages
            """
        return int(connection.execute(text(sql), {"topic": topic, "window_s": window_s}).scalar_one())

    def make(self, topic: Topic, compose: Callable[[list[OutboxEvent]], list[Message]]) -> int:
        """Make messages of a topic's happenings, in one commit; returns their number.

        A happening that is written meanwhile is either among them or waits for the next time.
        """
        with writing(self._engine) as connection:
            rows = connection.execute(
                text(
                    f"""
                    DELETE FROM outbox WHERE type = :type AND provider = :provider AND client = :client
                    RETURNING {", ".join(COLUMNS)}, labels
                    """
                ),
                {"type": topic.type, "provider": topic.provider, "client": topic.client},
            ).mappings()
            found = sorted((OutboxEvent(**row) for row in rows), key=lambda one: one.id)
            messages = compose(found) if found else []
            self._add(connection, messages)
        return len(messages)

    def add(self, messages: Sequence[Message]) -> None:
        """Put messages on their way."""
        with writing(self._engine) as connection:
            self._add(connection, messages)

    def _add(self, connection: Connection, messages: Sequence[Message]) -> None:
        execute(
            connection,
            _MESSAGE,
            f"""
            INSERT INTO webhook ({", ".join(_MESSAGE)}, created_at, attempts, next_at)
            SELECT {", ".join(f"r.{name}" for name in _MESSAGE)}, {self._now}, 0, {self._now} FROM r WHERE true
            """,
            [{name: getattr(message, name) for name in _MESSAGE} for message in messages],
        )

    def ready(self, endpoint: str, limit: int) -> list[tuple[Message, float]]:
        """Return what is to be sent to an endpoint now, oldest first, one of each subject; and how old it is, seconds.

        A message waits for those before it that are about the same subject.
        """
        with reading(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            rows = connection.execute(
                text(
                    f"""
                    SELECT id, {self._now} - created_at FROM webhook AS one
                    WHERE endpoint = :endpoint AND next_at <= {self._now} AND NOT EXISTS (
                      SELECT 1 FROM webhook AS earlier WHERE earlier.endpoint = one.endpoint
                       AND earlier.subject = one.subject AND earlier.next_at IS NOT NULL AND earlier.id < one.id
                    ) ORDER BY id LIMIT :limit
                    """
                ),
                {"endpoint": endpoint, "limit": limit},
            ).all()
            ages = {str(row[0]): float(row[1]) for row in rows}
            statement = select(Message).where(
                col(Message.endpoint) == endpoint, col(Message.id).in_(list(ages))
            )
            found = sorted(session.exec(statement), key=lambda one: one.id)
        return [(message, ages[message.id]) for message in found]

    def settle(self, outcomes: Sequence[DeliveryOutcome]) -> None:
        """Note what became of deliveries."""
        with writing(self._engine) as connection:
            execute(
                connection,
                _OUTCOME,
                f"""
                UPDATE webhook SET attempts = attempts + 1, http_status = r.http_status, error = r.error,
                 next_at = CASE WHEN r.after_s IS NULL THEN NULL ELSE {self._now} + r.after_s END,
                 delivered_at = CASE WHEN r.after_s IS NULL AND r.given_up = 0 THEN {self._now} END,
                 failed_at = CASE WHEN r.given_up = 1 THEN {self._now} END
                FROM r WHERE webhook.id = r.id AND webhook.endpoint = r.endpoint AND webhook.next_at IS NOT NULL
                """,
                [
                    {name: getattr(one, name) for name in _OUTCOME if name != "given_up"}
                    | {"given_up": int(one.given_up)}
                    for one in outcomes
                ],
            )

    def hurry(self, endpoint: str) -> None:
        """Have sent at once what waits because the endpoint could not be reached: it can be again."""
        with writing(self._engine) as connection:
            connection.execute(
                text(
                    f"""
                    UPDATE webhook SET next_at = {self._now}
                    WHERE endpoint = :endpoint AND next_at > {self._now} AND http_status IS NULL
                    """
                ),
                {"endpoint": endpoint},
            )

    def retry(self, ids: Sequence[str] = ()) -> int:
        """Queue dead-lettered messages again, all or these, and return the number of deliveries."""
        which = "" if not ids else "AND id IN (SELECT id FROM r)"
        sql = f"""
            UPDATE webhook SET failed_at = NULL, attempts = 0, created_at = {self._now}, next_at = {self._now}
            WHERE failed_at IS NOT NULL {which} RETURNING id
            """
        with writing(self._engine) as connection:
            if not ids:
                return len(connection.execute(text(sql)).all())
            return len(execute(connection, {"id": "text"}, sql, [{"id": one} for one in ids]))

    def backlog(self, *, recent_s: float = 86400.0) -> list[Backlog]:
        """Count messages by endpoint; `delivered`: those of the last `recent_s` seconds."""
        last = """
            (SELECT coalesce(error, '') FROM webhook AS one WHERE one.endpoint = webhook.endpoint
              AND one.next_at IS NOT NULL AND one.attempts > 0 ORDER BY one.id DESC LIMIT 1)
            """
        with reading(self._engine) as connection:
            rows = connection.execute(
                text(
                    f"""
                    SELECT endpoint, sum(CASE WHEN next_at IS NOT NULL THEN 1 ELSE 0 END),
                     min(CASE WHEN next_at IS NOT NULL THEN created_at END),
                     sum(CASE WHEN failed_at IS NOT NULL THEN 1 ELSE 0 END),
                     sum(CASE WHEN delivered_at > {self._now} - :recent_s THEN 1 ELSE 0 END), {last}
                    FROM webhook GROUP BY endpoint ORDER BY endpoint
                    """
                ),
                {"recent_s": recent_s},
            ).all()
        return [Backlog(row[0], int(row[1]), row[2], int(row[3]), int(row[4]), row[5]) for row in rows]

    def waiting(self) -> int:
        """Count the happenings that are not messages yet."""
        with reading(self._engine) as connection:
            return int(connection.execute(text("SELECT count(*) FROM outbox")).scalar_one())

    def messages(self, *, limit: int) -> Iterator[Message]:
        """Return the messages that wait or are dead-lettered, newest first."""
        statement = (
            select(Message)
            .where(col(Message.delivered_at).is_(None))
            .order_by(col(Message.created_at).desc(), col(Message.id).desc())
            .limit(limit)
        )
        with reading(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            yield from list(session.exec(statement))

    def prune(self, *, delivered_s: float, dead_lettered_s: float) -> int:
        """Delete messages that were delivered or dead-lettered so many seconds ago, and return the number of deliveries."""
        sql = f"""
            DELETE FROM webhook WHERE next_at IS NULL AND created_at < {self._now} - :delivered_s
             AND (delivered_at < {self._now} - :delivered_s OR failed_at < {self._now} - :dead_lettered_s)
            """
        with writing(self._engine) as connection:
            return connection.execute(
                text(sql), {"delivered_s": delivered_s, "dead_lettered_s": dead_lettered_s}
            ).rowcount
