"""The SQL of requests with an `Idempotency-Key`: begun once, answered again with what was answered first."""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct
from sqlalchemy import Engine, text

from worker.db.engine import now_sql, writing

#: Answers are kept for a day: longer than any client tries again.
KEPT_S: Final = 86_400.0
#: A request that has no answer after this long was lost with its process: it may begin again.
LOST_AFTER_S: Final = 180.0
#: Old answers that one request deletes.
_PRUNED: Final = 100


class Standing(Enum):
    """What is known of a request as it begins."""

    NEW = "new"
    #: Its answer is there.
    ANSWERED = "answered"
    UNDER_WAY = "under way"
    #: The key was used for another request.
    OTHER = "other"


class Begun(Struct, frozen=True):
    """A request that begins; with `ANSWERED`, its answer."""

    standing: Standing
    status: int = 0
    body: str = ""


class Idempotency:
    """The table of idempotent requests."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._now = now_sql(engine)

    def begin(self, key_id: str, idempotency_key: str, request_hash: str) -> Begun:
        """Note that a request begins, unless it is known."""
        keys = {"key_id": key_id, "idempotency_key": idempotency_key}
        with writing(self._engine) as connection:
            connection.execute(
                text(
                    f"""
                    DELETE FROM idempotency WHERE (key_id, idempotency_key) IN (
                      SELECT key_id, idempotency_key FROM idempotency
                      WHERE created_at < {self._now} - {KEPT_S} ORDER BY created_at LIMIT {_PRUNED})
                    """
                )
            )
            connection.execute(
                text(
                    f"""
                    DELETE FROM idempotency WHERE key_id = :key_id AND idempotency_key = :idempotency_key
                     AND status IS NULL AND created_at < {self._now} - {LOST_AFTER_S}
                    """
                ),
                keys,
            )
            new = connection.execute(
                text(
                    f"""
                    INSERT INTO idempotency (key_id, idempotency_key, request_hash, body, created_at)
                    VALUES (:key_id, :idempotency_key, :request_hash, '', {self._now})
                    ON CONFLICT (key_id, idempotency_key) DO NOTHING
                    """
                ),
                {**keys, "request_hash": request_hash},
            ).rowcount
            if new:
                return Begun(Standing.NEW)
            stored = connection.execute(
                text(
                    "SELECT request_hash, status, body FROM idempotency "
                    "WHERE key_id = :key_id AND idempotency_key = :idempotency_key"
                ),
                keys,
            ).one()
        if stored.request_hash != request_hash:
            return Begun(Standing.OTHER)
        if stored.status is None:
            return Begun(Standing.UNDER_WAY)
        return Begun(Standing.ANSWERED, int(stored.status), str(stored.body))

    def answer(self, key_id: str, idempotency_key: str, *, status: int, body: str) -> None:
        """Keep the answer of a request that was begun."""
        with writing(self._engine) as connection:
            connection.execute(
                text(
                    "UPDATE idempotency SET status = :status, body = :body "
                    "WHERE key_id = :key_id AND idempotency_key = :idempotency_key"
                ),
                {"status": status, "body": body, "key_id": key_id, "idempotency_key": idempotency_key},
            )

    def forget(self, key_id: str, idempotency_key: str) -> None:
        """Forget a request that changed nothing: it may be sent again."""
        with writing(self._engine) as connection:
            connection.execute(
                text("DELETE FROM idempotency WHERE key_id = :key_id AND idempotency_key = :idempotency_key"),
                {"key_id": key_id, "idempotency_key": idempotency_key},
            )
