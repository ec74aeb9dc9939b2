"""The SQL of Connect sessions. Each step is one conditional UPDATE: of two that come at once, one is taken.

Which step follows which is `models/tables/connect_session.py`'s; a step that comes after the time for it is over is none.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, Engine, select, text
from sqlmodel import SQLModel

from models.tables.connect_session import (
    EXPIRED,
    INTERRUPTED,
    NEXT,
    OUT_OF_TIME,
    ConnectSession,
    ConnectStatus,
    Step,
)
from worker.db.engine import database_now, now_sql, reading, writing

#: A session stays this long after its end, for whoever asks what became of it.
KEPT_S: Final = 7 * 86400.0
#: Whoever begins a session late still has so long to consent.
CONSENT_S: Final = 900.0
#: A code that no worker takes within this time ends its session: providers end codes within 30 to 600 s.
QUEUE_S: Final = 30.0

_TABLE: Final = SQLModel.metadata.tables["connect_session"]
#: What the process that faces the web may read: no sealed column.
_READ: Final = tuple(name for name in _TABLE.columns.keys() if not name.endswith("_sealed"))  # noqa: SIM118
_BY_TIME: Final = " ".join(f"WHEN '{status.value}' THEN '{reason}'" for status, reason in OUT_OF_TIME.items())


class ConnectSessions:
    """The table of Connect sessions.

    Args:
        engine: the database.
        exchange_s: how long a worker may take for the exchange of a code.
    """

    def __init__(self, engine: Engine, *, exchange_s: float) -> None:
        self._engine = engine
        self._now = now_sql(engine)
        self._exchange_s = exchange_s

    def add(self, session: ConnectSession, *, for_s: float) -> ConnectSession:
        """Store a new session that may be begun for so many seconds; returns it with its times."""
        names = list(_TABLE.columns.keys())
        values = {name: getattr(session, name) for name in names} | {"for_s": for_s}
        timed = {
            "created_at": self._now,
            "expires_at": f"{self._now} + :for_s",
            "ends_at": f"{self._now} + :for_s",
        }
        placed = ", ".join(timed.get(name, f":{name}") for name in names)
        with writing(self._engine) as connection:
            connection.execute(
                text(f"INSERT INTO connect_session ({', '.join(names)}) VALUES ({placed})"), values
            )
        stored = self.find(session.id)
        assert stored is not None  # noqa: S101  (it was written right now)
        return stored

    def find(self, session_id: str) -> ConnectSession | None:
        """Read a session, as it is by now."""
        return self._one("id", session_id)

    def find_by_state(self, state_hash: str) -> ConnectSession | None:
        """Read the session whose browser was sent out with this state, as it is by now."""
        return self._one("state_hash", state_hash)

    def custom_fields(self, session_id: str) -> str | None:
        """Read what only a worker can open."""
        with reading(self._engine) as connection:
            sealed = connection.execute(
                text("SELECT custom_fields_sealed FROM connect_session WHERE id = :id"), {"id": session_id}
            ).scalar_one_or_none()
        return None if sealed is None else str(sealed)

    def begin(self, session_id: str, *, state_hash: str, browser_hash: str) -> bool:
        """Bind a session to the browser that begins it, for good; False: it may not be begun, or not by this browser."""
        return self._step(
            Step.BEGIN,
            session_id,
            f"""
            state_hash = :state_hash, browser_hash = :browser_hash,
             started_at = coalesce(started_at, {self._now}),
             ends_at = CASE WHEN started_at IS NULL AND ends_at < {self._now} + {CONSENT_S}
             THEN {self._now} + {CONSENT_S} ELSE ends_at END
            """,
            "(browser_hash IS NULL OR browser_hash = :browser_hash)",
            state_hash=state_hash,
            browser_hash=browser_hash,
        )

    def returned(self, session_id: str) -> bool:
        """Note that the browser brought a code, which is used once: False for any other time."""
        return self._step(Step.RETURN, session_id, f"ends_at = {self._now} + {QUEUE_S}")

    def given_up(self, session_id: str, reason: str) -> bool:
        """End a session whose code can't be brought to a worker."""
        return self._fail(Step.GIVE_UP, session_id, reason, None)

    def refused(self, session_id: str, reason: str, detail: str | None) -> bool:
        """End a session whose browser came back without a code."""
        return self._fail(Step.REFUSE, session_id, reason, detail)

    def claim(self, session_id: str) -> bool:
        """Take a session's code, for one worker: False for every other, and for a message that comes twice."""
        return self._step(
            Step.CLAIM, session_id, f"ends_at = {self._now} + :exchange_s", exchange_s=self._exchange_s
        )

    def failed(self, session_id: str, reason: str, detail: str | None) -> bool:
        """End a session whose code brought no grant."""
        return self._fail(Step.FAIL, session_id, reason, detail)

    def stored(self, connection: Connection, session_id: str, *, outcome: str, generation: int) -> bool:
        """Note, in the transaction that stores it, that the session has its grant.

        Also after its time: of a session that was given up on while its worker was at work.
        """
        return self._step_in(
            connection,
            Step.STORE,
            session_id,
            f"""
            reason = NULL, detail = NULL, outcome = :outcome, generation = :generation, ends_at = {self._now},
             custom_fields_sealed = NULL
            """,
            f"(status <> '{ConnectStatus.FAILED.value}' OR reason = '{INTERRUPTED}')",
            in_time=False,
            outcome=outcome,
            generation=generation,
        )

    def end_overdue(self) -> int:
        """Store of every session whose time is over that it has failed; returns their number."""
        statuses = ", ".join(f"'{status.value}'" for status in NEXT[Step.END])
        with writing(self._engine) as connection:
            return connection.execute(
                text(
                    f"""
                    UPDATE connect_session
                    SET reason = CASE status {_BY_TIME} ELSE '{EXPIRED}' END, status = '{ConnectStatus.FAILED.value}',
                     custom_fields_sealed = NULL
                    WHERE status IN ({statuses}) AND ends_at <= {self._now}
                    """
                )
            ).rowcount

    def prune(self, *, batch: int = 10_000) -> int:
        """Delete sessions that ended long ago; returns their number."""
        self.end_overdue()
        deleted = 0
        while True:
            with writing(self._engine) as connection:
                count = connection.execute(
                    text(
                        "DELETE FROM connect_session WHERE id IN (SELECT id FROM connect_session "
                        f"WHERE ends_at < {self._now} - :kept_s LIMIT :batch)"
                    ),
                    {"kept_s": KEPT_S, "batch": batch},
                ).rowcount
            deleted += count
            if count < batch:
                return deleted

    def _one(self, name: str, value: str) -> ConnectSession | None:
        statement = select(*(_TABLE.c[column] for column in _READ)).where(_TABLE.c[name] == value)
        with reading(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
            if row is None:
                return None
            return ConnectSession(**row._mapping).at(database_now(connection))  # noqa: SLF001  (a public name)

    def _fail(self, step: Step, session_id: str, reason: str, detail: str | None) -> bool:
        return self._step(
            step,
            session_id,
            f"reason = :reason, detail = :detail, ends_at = {self._now}, custom_fields_sealed = NULL",
            reason=reason,
            detail=detail,
        )

    def _step(self, step: Step, session_id: str, sets: str, condition: str = "true", **values: Any) -> bool:
        with writing(self._engine) as connection:
            return self._step_in(connection, step, session_id, sets, condition, **values)

    def _step_in(
        self,
        connection: Connection,
        step: Step,
        session_id: str,
        sets: str,
        condition: str = "true",
        *,
        in_time: bool = True,
        **values: Any,
    ) -> bool:
        moves = NEXT[step]
        becomes = " ".join(f"WHEN '{before.value}' THEN '{after.value}'" for before, after in moves.items())
        before = ", ".join(f"'{status.value}'" for status in moves)
        timely = f"ends_at > {self._now}" if in_time else "true"
        updated = connection.execute(
            text(
                f"""
                UPDATE connect_session SET status = CASE status {becomes} END, {sets}
                WHERE id = :id AND status IN ({before}) AND {timely} AND {condition}
                """
            ),
            {"id": session_id, **values},
        )
        return bool(updated.rowcount)
