"""The SQL of the audit trail. An entry is written in the transaction of what it tells, where there is one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Engine, text
from sqlmodel import Session, col, or_, select

from models.attempt import new_attempt_id
from models.audit import Act, Action, Actor, Audit
from worker.io.clock import wall_clock
from worker.io.database import now_sql, reading, writing
from worker.io.rows import execute

_COLUMNS: Final = {
    "id": "text",
    "actor": "text",
    "host": "text",
    "action": "text",
    "account_id": "text",
    "provider": "text",
    "detail": "text",
}
#: What concerns an account though it was not done to it alone.
_FOR_MANY: Final = (Action.PAUSE.value, Action.RESUME.value)


def record(connection: Connection, actor: Actor, acts: Sequence[Act]) -> None:
    """Write down, in an open transaction, what somebody does."""
    execute(
        connection,
        _COLUMNS,
        f"""
        INSERT INTO audit ({", ".join(_COLUMNS)}, at)
        SELECT {", ".join(f"r.{name}" for name in _COLUMNS)}, {now_sql(connection.engine)} FROM r WHERE true
        """,
        [
            {
                "id": new_attempt_id(wall_clock()),
                "actor": actor.name,
                "host": actor.host,
                "action": act.action.value,
                "account_id": act.account,
                "provider": act.provider,
                "detail": json.dumps(act.detail, ensure_ascii=False, sort_keys=True),
            }
            for act in acts
        ],
    )


class AuditTrail:
    """What people did, as it is read and kept."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._now = now_sql(engine)

    def record(self, actor: Actor, *acts: Act) -> None:
        """Write down what has no transaction of its own.

        Raises:
            DatabaseUnreachable: it could not be written down, so it must not be done.
        """
        with writing(self._engine) as connection:
            record(connection, actor, acts)

    def latest(self, *, since_s: float | None = None, limit: int) -> list[Audit]:
        """Give the latest entries, newest first; with `since_s`, none that is older than so many seconds."""
        statement = select(Audit).order_by(col(Audit.at).desc(), col(Audit.id).desc()).limit(limit)
        if since_s is not None:
            statement = statement.where(text(f"at >= {self._now} - :since_s").bindparams(since_s=since_s))
        with reading(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            return list(session.exec(statement))

    def of(
        self, account_id: str, provider: str | None, *, since_s: float | None = None, limit: int
    ) -> list[Audit]:
        """Give the latest entries of one account, newest first, and the pauses that held it with others."""
        latest = select(Audit).order_by(col(Audit.at).desc(), col(Audit.id).desc()).limit(limit)
        if since_s is not None:
            latest = latest.where(text(f"at >= {self._now} - :since_s").bindparams(since_s=since_s))
        own = latest.where(Audit.account_id == account_id)
        shared = latest.where(
            col(Audit.account_id).is_(None),
            col(Audit.action).in_(_FOR_MANY),
            or_(col(Audit.provider).is_(None), col(Audit.provider) == provider),
        )
        with reading(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            found = [*session.exec(own), *session.exec(shared)]
        return sorted(found, key=lambda entry: (entry.at, entry.id), reverse=True)[:limit]

    def prune(self, *, older_than_s: float, batch: int = 10_000) -> int:
        """Delete entries that are too old; gives their number."""
        deleted = 0
        while True:
            with writing(self._engine) as connection:
                count = connection.execute(
                    text(
                        "DELETE FROM audit WHERE id IN "
                        f"(SELECT id FROM audit WHERE at < {self._now} - :older_than_s LIMIT :batch)"
                    ),
                    {"older_than_s": older_than_s, "batch": batch},
                ).rowcount
            deleted += count
            if count < batch:
                return deleted
