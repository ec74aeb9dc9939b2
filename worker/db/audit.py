"""The SQL of the audit trail. An entry is written in the transaction of what it tells, where there is one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, text
from sqlmodel import Session, col, or_, select

from models.attempt import new_attempt_ids
from models.audit import Act, Action, Actor, Audit
from models.label import AccountLabel
from worker.clock import wall_clock
from worker.db.bulk import execute
from worker.db.engine import now_sql, reading, writing

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

#: Of a label's pause, in the JSON of its detail. A person's words can't hold it: their quotes are escaped.
_LABEL: Final = '"label": '


def record(connection: Connection, actor: Actor, acts: Sequence[Act]) -> list[str]:
    """Write down, in an open transaction, what somebody does; returns the ids of the entries."""
    entries = entries_of([(actor, act) for act in acts])
    execute(
        connection,
        _COLUMNS,
        f"""
        INSERT INTO audit ({", ".join(_COLUMNS)}, at)
        SELECT {", ".join(f"r.{name}" for name in _COLUMNS)}, {now_sql(connection.engine)} FROM r WHERE true
        """,
        entries,
    )
    return [entry["id"] for entry in entries]


def entries_of(acts: Sequence[tuple[Actor, Act]]) -> list[dict[str, Any]]:
    """Return the columns of new entries of the audit trail, without their time."""
    return [
        {
            "id": entry,
            "actor": actor.name,
            "host": actor.host,
            "action": act.action.value,
            "account_id": act.account,
            "provider": act.provider,
            "detail": _json(act),
        }
        for entry, (actor, act) in zip(new_attempt_ids(wall_clock(), len(acts)), acts, strict=True)
    ]


class RunningEntry:
    """The entry of something that takes many commits: written with the first, brought up to date with each.

    However it ends, the entry tells what was done of it.
    """

    def __init__(self, engine: Engine, actor: Actor, action: Action, detail: dict[str, Any]) -> None:
        self._engine = engine
        self._actor = actor
        self._action = action
        self._detail = detail
        self._id: str | None = None
        self._counts: dict[str, int] | None = None

    def write(self, connection: Connection, counts: dict[str, int]) -> None:
        """Write, in an open transaction, how much is done."""
        self._counts = counts
        act = Act(self._action, detail=self._detail | counts)
        if self._id is not None:
            updated = connection.execute(
                text("UPDATE audit SET detail = :detail WHERE id = :id"),
                {"id": self._id, "detail": _json(act)},
            )
            if updated.rowcount:
                return
        # The first, or the first again after a transaction that was rolled back.
        (self._id,) = record(connection, self._actor, [act])

    def finish(self, counts: dict[str, int]) -> None:
        """Write, in a transaction of its own, what was done in the end; the last commit may have said so already."""
        if counts == self._counts:
            return
        with writing(self._engine) as connection:
            self.write(connection, counts)


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


def _json(act: Act) -> str:
    return json.dumps(act.detail, ensure_ascii=False, sort_keys=True)
