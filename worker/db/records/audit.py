"""The SQL of the audit trail as it is read and kept; `worker/db/records/acts.py` writes what has a transaction of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Engine, text
from sqlmodel import Session, col, or_, select

from models.tables.account_label import AccountLabel
from models.tables.audit import Act, Action, Actor, Audit
from worker.db.engine import now_sql, reading, writing
from worker.db.records.acts import record

#: What concerns an account though it was not done to it alone.
_FOR_MANY: Final = (Action.PAUSE.value, Action.RESUME.value)

#: Of a label's pause, in the JSON of its detail. A person's words can't hold it: their quotes are escaped.
_LABEL: Final = '"label": '


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
        """Return the latest entries, newest first; with `since_s`, none that is older than so many seconds."""
        return self._read(since_s, limit, [])

    def own(self, account_id: str, *, since_s: float | None = None, limit: int) -> list[Audit]:
        """Return the latest entries of one account, newest first."""
        return self._read(since_s, limit, [col(Audit.account_id) == account_id])

    def of(self, account_id: str, provider: str, *, since_s: float | None = None, limit: int) -> list[Audit]:
        """Return the latest entries of one account, newest first, and the pauses that held it with others.

        Of the pauses of labels those whose label it has now.
        """
        detail = col(Audit.detail)
        shared = [
            col(Audit.account_id).is_(None),
            col(Audit.action).in_(_FOR_MANY),
            or_(col(Audit.provider).is_(None), col(Audit.provider) == provider),
            or_(
                ~detail.contains(_LABEL, autoescape=True),
                *(
                    detail.contains(f'{_LABEL}"{label}"', autoescape=True)
                    for label in self._labels_of(account_id)
                ),
            ),
        ]
        found = [*self.own(account_id, since_s=since_s, limit=limit), *self._read(since_s, limit, shared)]
        return sorted(found, key=lambda entry: (entry.at, entry.id), reverse=True)[:limit]

    def _labels_of(self, account_id: str) -> list[str]:
        having = select(AccountLabel).where(AccountLabel.account_id == account_id)
        with reading(self._engine) as connection, Session(connection) as session:
            return [f"{label.name}={label.value}" for label in session.exec(having)]

    def _read(
        self, since_s: float | None, limit: int, conditions: Sequence[ColumnElement[bool]]
    ) -> list[Audit]:
        statement = select(Audit).where(*conditions)
        if since_s is not None:
            statement = statement.where(text(f"at >= {self._now} - :since_s").bindparams(since_s=since_s))
        statement = statement.order_by(col(Audit.at).desc(), col(Audit.id).desc()).limit(limit)
        with reading(self._engine) as connection, Session(connection, expire_on_commit=False) as session:
            return list(session.exec(statement))

    def prune(self, *, older_than_s: float, batch: int = 10_000) -> int:
        """Delete entries that are too old; returns their number."""
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
