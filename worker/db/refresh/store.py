"""The SQL of one refresh: load, open, close. SQL decides; everything else only keeps workers apart.

Each function is one transaction over a whole group. An attempt is opened by one conditional statement: no row
changed means that someone else has the account, and no call is made. A success is stored wherever its
generation is still the current one; a failure only where the claim and the configuration are unchanged too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import Boolean, Connection, Engine, Float, text

from models.event import Event
from models.tables.account import Account, Status
from models.tables.attempt import INTERRUPTED, AttemptEntry, Outcome
from worker.clock import Clock
from worker.db.accounts.plain import typed
from worker.db.accounts.rows import WHOLE, whole_account
from worker.db.bulk import (
    CLOSING,
    KEY,
    OPENING,
    SCHEDULE,
    STATE,
    TOKEN,
    attributes_of,
    columns_of,
    execute,
    execute_by_driver,
    fetch,
    update_accounts,
)
from worker.db.engine import is_sqlite, now_sql, reading, writing
from worker.db.outbox import put
from worker.db.planning.pauses import is_paused
from worker.db.publication.store import MARK_STATE_UNPUBLISHED, NO_UPDATES, PublicationUpdates, note
from worker.db.refresh.completions import Completion, Postponement, Stored

#: How long a commit of answers waits for a row that another transaction has.
ROW_LOCK_S: Final = 2
_POSTPONEMENT: Final = {
    "id": "text",
    "generation": "bigint",
    "plan_at": "double precision",
    "reason": "text",
    "held_by": "text",
}

_LOST: Final = {
    "id": "text",
    "attempt": "text",
    "opened_at": "double precision",
    "received_fp": "text",
    "kept": "text",
}
_IS_EDITED: Final = "account.config_version <> r.config_version"
#: What a success writes that an edit during its call may have decided otherwise: whether the account is refreshed at all
#: is the row's to say, and one that was switched on meanwhile stays in the plan. Its due time is computed anew then.
_EDITED_MEANWHILE: Final = {
    "status": f"CASE WHEN NOT account.refresh_enabled THEN '{Status.DISABLED}' "
    f"WHEN r.status = '{Status.DISABLED}' THEN '{Status.ACTIVE}' ELSE r.status END",
    "status_at": f"CASE WHEN {_IS_EDITED} THEN account.status_at ELSE r.status_at END",
} | {
    name: f"CASE WHEN account.refresh_enabled THEN "
    f"coalesce(r.{name}, CASE WHEN {_IS_EDITED} THEN account.{name} END) END"
    for name in ("next_refresh_at", "plan_at")
}


class RefreshStore:
    """The database, as one refresh sees it. `event_types`: types of events that go to the outbox, in the same commit."""

    def __init__(self, engine: Engine, clock: Clock, event_types: Collection[str] = ()) -> None:
        self._engine = engine
        self._clock = clock
        self._event_types = event_types
        self._now = now_sql(engine)
        # As text: an expression is built, compared and its list of ids written out anew at each call, 2.5 ms for 50 accounts.
        wanted = f"SELECT {WHOLE}, {self._now}, {is_paused(self._now)} FROM account WHERE id "
        #: SQLite's, with a type for each column; PostgreSQL's driver knows the types of its own.
        self._load = f"{wanted} = ANY(ARRAY(SELECT json_array_elements_text(CAST(%(ids)s AS json))))"
        self._load_sqlite = (
            typed(f"{wanted} IN (SELECT value FROM json_each(:ids))", Float(), Boolean())
            if is_sqlite(engine)
            else None
        )

    def load(self, ids: Sequence[str]) -> dict[str, Account]:
        """Read accounts by id, and set the clock by the database's."""
        return self.load_for_refresh(ids)[0]

    def load_for_refresh(self, ids: Sequence[str]) -> tuple[dict[str, Account], frozenset[str]]:
        """Read accounts by id, and set the clock by the database's; beside them, the ids of those that are paused."""
        with reading(self._engine) as connection:
            rows = self._rows(connection, {"ids": json.dumps(list(ids))})
        if rows:
            self._clock.set(float(rows[0][-2]))
        found = {account.id: account for account in map(whole_account, rows)}
        return found, frozenset(account_id for account_id, row in zip(found, rows, strict=True) if row[-1])

    def _rows(self, connection: Connection, ids: dict[str, str]) -> Sequence[Sequence[Any]]:
        if self._load_sqlite is None:
            return fetch(connection, self._load, ids)
        return connection.execute(self._load_sqlite, ids).all()

    def open(self, attempts: Sequence[tuple[AttemptEntry, Account]], *, claim_s: float) -> set[str]:
        """Open attempts on loaded accounts; returns the ids of the accounts that are now ours.

        An attempt that was left open by a process that is gone is closed here, as ambiguous. A planned account is
        planned again when the claim ends, in case this process is gone by then.
        """
        with writing(self._engine) as connection:
            taken = update_accounts(
                connection,
                {**KEY, "stale": "text"},
                f"""
                claim_attempt = r.attempt, claim_until = {self._now} + :claim_s,
                plan_at = CASE WHEN account.plan_at IS NULL THEN NULL ELSE {self._now} + :claim_s END
                """,
                f"""
                account.generation = r.seen AND account.config_version = r.config_version
                AND (account.claim_attempt IS NULL OR account.claim_until <= {self._now})
                AND coalesce(account.claim_attempt, '') = r.stale
                """,
                [
                    {
                        "id": account.id,
                        "attempt": attempt.id,
                        "seen": account.generation,
                        "config_version": account.config_version,
                        "stale": account.claim_attempt or "",
                    }
                    for attempt, account in attempts
                ],
                claim_s=claim_s,
            )
            ours = {str(row[0]) for row in taken}
            mine = [(attempt, account) for attempt, account in attempts if account.id in ours]
            execute_by_driver(
                connection,
                OPENING,
                f"""
                INSERT INTO attempt ({", ".join(OPENING)}, opened_at, claim_until, repeats)
                SELECT {", ".join(f"r.{name}" for name in OPENING)}, {self._now}, {self._now} + :claim_s, 1 FROM r
                WHERE true
                """,
                [attributes_of(attempt, OPENING) for attempt, _ in mine],
                claim_s=claim_s,
            )
            self._close_interrupted(connection, [a.claim_attempt for _, a in mine if a.claim_attempt])
        return ours

    def close(
        self, completions: Sequence[Completion], updates: PublicationUpdates = NO_UPDATES
    ) -> list[Stored]:
        """Store what attempts brought, in one commit; note beside it what Redis has.

        Args:
            completions: ended attempts, one an account at the most.
            updates: what is known of Redis since the last commit.
        """
        with writing(self._engine) as connection:
            if not is_sqlite(self._engine):
                # A row that somebody keeps locked holds the others of its commit no longer than this.
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{ROW_LOCK_S}s'")
            edited = self._store_successes(connection, [c for c in completions if c.success])
            stored = set(edited) | self._store_failures(connection, [c for c in completions if not c.success])
            lost = [c for c in completions if c.account.id not in stored]
            self._let_go(connection, lost)
            self._close_attempts(connection, [c.attempt for c in completions])
            note(connection, updates, now=self._now)
            self._enqueue(
                connection, [e for c in completions if c.events and c.account.id in stored for e in c.events]
            )
        return [Stored(c.account.id in stored, edited.get(c.account.id, False)) for c in completions]

    def postpone(self, turns: Sequence[Postponement]) -> None:
        """Have accounts planned again later, once they are due; write the gate that holds an account into its row."""
        with writing(self._engine) as connection:
            execute(
                connection,
                _POSTPONEMENT,
                # An account that was asked for before its time waits for that time: a plan would find it not due.
                """
                UPDATE account SET held_by = r.held_by,
                 plan_at = CASE WHEN r.plan_at < account.next_refresh_at
                  THEN account.next_refresh_at ELSE r.plan_at END,
                 reason = CASE WHEN r.held_by IS NOT NULL AND account.status = 'active'
                  THEN r.reason ELSE account.reason END
                FROM r WHERE account.id = r.id AND account.generation = r.generation AND account.plan_at IS NOT NULL
                """,
                [attributes_of(turn, _POSTPONEMENT) for turn in turns],
            )

    def keep(self, account_id: str, sealed_answer: str) -> None:
        """Write a success that lost the race for its generation beside the row."""
        with writing(self._engine) as connection:
            connection.execute(
                text("UPDATE account SET kept_sealed = :sealed WHERE id = :id"),
                {"sealed": sealed_answer, "id": account_id},
            )

    def reschedule(self, accounts: Sequence[Account]) -> None:
        """Store due times computed after an edit, unless the row has moved on since it was loaded."""
        sets = ", ".join(f"{name} = r.{name}" for name in SCHEDULE)
        with writing(self._engine) as connection:
            execute(
                connection,
                {"id": "text", "generation": "bigint", "config_version": "bigint"} | SCHEDULE,
                f"""
                UPDATE account SET {sets} FROM r WHERE account.id = r.id
                 AND account.generation = r.generation AND account.config_version = r.config_version
                """,
                [columns_of(a, ["id", "generation", "config_version", *SCHEDULE]) for a in accounts],
            )

    def _enqueue(self, connection: Connection, events: list[Event]) -> None:
        if events and self._event_types:
            put(connection, [event for event in events if event.type in self._event_types])

    def _store_successes(self, connection: Connection, completions: list[Completion]) -> dict[str, bool]:
        columns = TOKEN | STATE
        sets = ", ".join(f"{name} = {_EDITED_MEANWHILE.get(name, f'r.{name}')}" for name in columns)
        rows = update_accounts(
            connection,
            KEY | columns,
            f"""
            {sets}, kept_sealed = NULL, published_generation = -1,
            claim_attempt = CASE WHEN account.claim_attempt = r.attempt THEN NULL ELSE account.claim_attempt END,
            claim_until = CASE WHEN account.claim_attempt = r.attempt THEN NULL ELSE account.claim_until END
            """,
            "account.generation = r.seen",
            [_state_row(c, columns) for c in completions],
            returning=("config_version",),
        )
        now = {str(row[0]): int(row[1]) for row in rows}
        return {
            c.account.id: now[c.account.id] != c.attempt.config_version
            for c in completions
            if c.account.id in now
        }

    def _store_failures(self, connection: Connection, completions: list[Completion]) -> set[str]:
        """Store failures, but no `reauthorize` where an answer was kept beside the row since it was loaded."""
        sets = ", ".join(f"{name} = r.{name}" for name in STATE)
        marked = MARK_STATE_UNPUBLISHED.replace(
            "CASE", "CASE WHEN account.status = r.status THEN account.published_generation"
        )
        rows = update_accounts(
            connection,
            KEY | STATE | {"kept": "text"},
            f"{sets}, claim_attempt = NULL, claim_until = NULL, {marked}",
            """
            account.generation = r.seen
            AND account.claim_attempt = r.attempt AND account.config_version = r.config_version
            AND (r.status <> 'reauthorize' OR coalesce(account.kept_sealed, '') = coalesce(r.kept, ''))
            """,
            [{**_state_row(c, STATE), "kept": c.account.kept_sealed} for c in completions],
        )
        return {str(row[0]) for row in rows}

    def _let_go(self, connection: Connection, lost: list[Completion]) -> None:
        """Release the claim of every completion that was not stored, and save its token set in `kept_sealed`.

        Skip accounts that were created after the attempt began, and rows that already hold this refresh token (a
        commit that is tried again because its end is unknown).
        """
        execute_by_driver(
            connection,
            _LOST,
            """
            UPDATE account SET kept_sealed = CASE WHEN r.kept IS NOT NULL AND account.created_at <= r.opened_at
              AND coalesce(account.refresh_fp, '') <> coalesce(r.received_fp, '')
              THEN r.kept ELSE account.kept_sealed END,
             claim_attempt = CASE WHEN account.claim_attempt = r.attempt THEN NULL ELSE account.claim_attempt END,
             claim_until = CASE WHEN account.claim_attempt = r.attempt THEN NULL ELSE account.claim_until END,
             plan_at = CASE WHEN account.claim_attempt = r.attempt AND account.plan_at IS NOT NULL
              THEN account.next_refresh_at ELSE account.plan_at END
            FROM r WHERE account.id = r.id
            """,
            [
                {
                    "id": c.account.id,
                    "attempt": c.attempt.id,
                    "opened_at": c.attempt.opened_at,
                    "received_fp": c.attempt.received_fp,
                    "kept": c.sealed_answer if c.success else None,
                }
                for c in lost
            ],
        )

    def _close_attempts(self, connection: Connection, attempts: list[AttemptEntry]) -> None:
        sets = ", ".join(f"{name} = r.{name}" for name in CLOSING)
        execute_by_driver(
            connection,
            {"id": "text"} | CLOSING,
            f"UPDATE attempt SET closed_at = {self._now}, {sets} FROM r WHERE attempt.id = r.id",
            [attributes_of(attempt, {"id": "text"} | CLOSING) for attempt in attempts],
        )

    def _close_interrupted(self, connection: Connection, attempt_ids: list[str]) -> None:
        execute_by_driver(
            connection,
            {"id": "text"},
            f"""
            UPDATE attempt SET closed_at = {self._now}, outcome = :outcome, reason = :reason
            FROM r WHERE attempt.id = r.id AND attempt.closed_at IS NULL
            """,
            [{"id": attempt_id} for attempt_id in attempt_ids],
            outcome=Outcome.RETRY.value,
            reason=INTERRUPTED,
        )


def _state_row(completion: Completion, columns: dict[str, str]) -> dict[str, Any]:
    return {
        "attempt": completion.attempt.id,
        "seen": completion.attempt.generation,
        "id": completion.account.id,
        "config_version": completion.attempt.config_version,
        **columns_of(completion.account, columns),
    }
