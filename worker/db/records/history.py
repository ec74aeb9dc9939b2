"""The SQL of execution history: what was not begun, reading it, and keeping it short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import Connection, Engine, text

from models.act import Action
from models.outcome import AttemptEntry, AttemptRow, Outcome, Trigger, new_attempt_id
from refreshd_reader.contract import PAUSED
from worker.clock import wall_clock
from worker.db.bulk import among_sql, execute, many
from worker.db.engine import now_sql, reading, writing
from worker.db.plain_rows import plain_rows

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account
    from models.tables.attempt import Attempt
    from models.tables.audit import Audit
    from worker.db.records.audit import AuditTrail

_NOTED: Final = {
    "id": "text",
    "account_id": "text",
    "trigger": "text",
    "opened_at": "double precision",
    "closed_at": "double precision",
    "worker": "text",
    "task_id": "text",
    "generation": "bigint",
    "config_version": "bigint",
    "outcome": "text",
    "reason": "text",
}

#: An account's `created_at` is read before the transaction that makes it, and its entry's time within: on a clock that two
#: processes know to some milliseconds.
_MADE_WITHIN_S: Final = 1.0


def note_paused(connection: Connection, accounts: Sequence[tuple[str, int]]) -> None:
    """Write, in an open transaction, that plans met paused accounts: (id, generation) each. Repeats are folded."""
    now = now_sql(connection.engine)
    entry = {"trigger": Trigger.PLANNED.value, "outcome": Outcome.DISABLED.value, "reason": PAUSED}
    rows = [
        {"id": new_attempt_id(wall_clock()), "account_id": account_id, "generation": generation}
        for account_id, generation in accounts
    ]
    columns = {"id": "text", "account_id": "text", "generation": "bigint"}
    folded = execute(
        connection,
        columns,
        f"""
        UPDATE attempt SET repeats = repeats + 1, closed_at = {now} FROM r
        WHERE attempt.id = (SELECT id FROM attempt WHERE account_id = r.account_id ORDER BY opened_at DESC, id DESC LIMIT 1)
         AND attempt.closed_at IS NOT NULL AND attempt.generation = r.generation AND attempt.trigger = :trigger
         AND attempt.outcome = :outcome AND attempt.reason = :reason RETURNING attempt.account_id
        """,
        rows,
        **entry,
    )
    known = {str(row[0]) for row in folded}
    execute(
        connection,
        columns,
        f"""
        INSERT INTO attempt (id, account_id, generation, trigger, outcome, reason, opened_at, closed_at,
         config_version, repeats)
        SELECT r.id, r.account_id, r.generation, :trigger, :outcome, :reason, {now}, {now}, 0, 1 FROM r WHERE true
        """,
        [row for row in rows if row["account_id"] not in known],
        **entry,
    )


class History:
    """Attempts, newest first."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._now = now_sql(engine)

    def of(self, account_id: str, *, limit: int) -> list[Attempt]:
        """Return an account's latest attempts."""
        sql = "SELECT * FROM attempt WHERE account_id = :id ORDER BY opened_at DESC, id DESC LIMIT :limit"
        with reading(self._engine) as connection:
            return _attempts(connection, sql, {"id": account_id, "limit": limit})

    def trail(
        self, audit: AuditTrail, account_id: str, provider: str | None, *, limit: int
    ) -> list[Attempt | Audit]:
        """Return an account's attempts and what people did, in the order of time: the latest so many.

        Args:
            audit: what people did.
            account_id: the account's.
            provider: the account's, for pauses that held it with others; None: it was removed.
            limit: entries at most.
        """
        people = (
            audit.own(account_id, limit=limit)
            if provider is None
            else audit.of(account_id, provider, limit=limit)
        )
        both: list[Attempt | Audit] = [*self.of(account_id, limit=limit), *people]
        return sorted(both, key=lambda one: (_at(one), one.id))[-limit:]

    def by_tasks(self, account_ids: Sequence[str], task_ids: Sequence[str]) -> dict[str, Attempt]:
        """Return the closed attempts that these tasks made, by account."""
        sql = (
            f"SELECT * FROM attempt WHERE {among_sql(self._engine, 'account_id', 'accounts')} "
            f"AND {among_sql(self._engine, 'task_id', 'tasks')} AND closed_at IS NOT NULL"
        )
        asked = {"accounts": many(self._engine, account_ids), "tasks": many(self._engine, task_ids)}
        with reading(self._engine) as connection:
            return {attempt.account_id: attempt for attempt in _attempts(connection, sql, asked)}

    def prune(
        self, *, older_than_s: float, keep_per_account: int, busy_within_s: float, batch: int = 10_000
    ) -> int:
        """Delete closed attempts that are too old or too many; returns their number.

        Args:
            older_than_s: the age beyond which none is kept.
            keep_per_account: the newest ones that are kept of each account.
            busy_within_s: accounts that had an attempt so recently are counted; of the others nothing came to count.
            batch: attempts that one transaction deletes, and accounts that it looks at.
        """
        deleted = 0
        while count := self._delete_old(older_than_s, batch):
            deleted += count
        busy = self._busy(busy_within_s)
        for start in range(0, len(busy), batch):
            deleted += self._delete_surplus(busy[start : start + batch], keep_per_account)
        return deleted

    def note(self, entries: Sequence[AttemptEntry], *, fold: bool) -> None:
        """Write entries of refreshes that were not begun; with `fold`, repeats become one entry with a count."""
        with writing(self._engine) as connection:
            new = [entry for entry in entries if not (fold and self._folded(connection, entry))]
            execute(
                connection,
                _NOTED,
                f"""
                INSERT INTO attempt ({", ".join(_NOTED)}, repeats)
                SELECT {", ".join(f"r.{name}" for name in _NOTED)}, 1 FROM r WHERE true
                """,
                [{name: getattr(entry, name) for name in _NOTED} for entry in new],
            )

    def _folded(self, connection: Connection, attempt: AttemptEntry) -> bool:
        result = connection.execute(
            text(
                f"""
                UPDATE attempt SET repeats = repeats + 1, closed_at = {self._now}, task_id = :task_id
                WHERE id = (SELECT id FROM attempt WHERE account_id = :account_id ORDER BY opened_at DESC, id DESC LIMIT 1)
                 AND closed_at IS NOT NULL AND outcome = :outcome AND coalesce(reason, '') = :reason
                 AND generation = :generation AND trigger = :trigger
                """
            ),
            {
                "task_id": attempt.task_id,
                "account_id": attempt.account_id,
                "outcome": attempt.outcome,
                "reason": attempt.reason or "",
                "generation": attempt.generation,
                "trigger": attempt.trigger,
            },
        )
        return result.rowcount == 1

    def _delete_old(self, older_than_s: float, limit: int) -> int:
        with writing(self._engine) as connection:
            return connection.execute(
                text(
                    f"""
                    DELETE FROM attempt WHERE id IN (
                      SELECT id FROM attempt WHERE opened_at < {self._now} - :older_than_s AND closed_at IS NOT NULL
                      LIMIT :limit
                    )
                    """
                ),
                {"older_than_s": older_than_s, "limit": limit},
            ).rowcount

    def _busy(self, within_s: float) -> list[str]:
        with reading(self._engine) as connection:
            # `||` keeps SQLite from walking along the whole index of accounts, which has the ids in order.
            found = connection.execute(
                text(
                    f"SELECT DISTINCT account_id || '' FROM attempt WHERE opened_at >= {self._now} - :within_s"
                ),
                {"within_s": within_s},
            )
            return [str(account_id) for account_id in found.scalars()]

    def _delete_surplus(self, account_ids: Sequence[str], keep: int) -> int:
        with writing(self._engine) as connection:
            gone = execute(
                connection,
                {"account_id": "text"},
                """
                DELETE FROM attempt WHERE id IN (
                  SELECT surplus.id FROM r JOIN attempt AS surplus ON surplus.account_id = r.account_id
                  WHERE surplus.closed_at IS NOT NULL AND surplus.opened_at < (
                    SELECT kept.opened_at FROM attempt AS kept WHERE kept.account_id = r.account_id
                    ORDER BY kept.opened_at DESC LIMIT 1 OFFSET :keep - 1
                  )
                ) RETURNING id
                """,
                [{"account_id": account_id} for account_id in account_ids],
                keep=keep,
            )
        return len(gone)


def of_this_account(trail: Sequence[Attempt | Audit], account: Account) -> list[Attempt | Audit]:
    """Return the entries of a trail since the account was made: earlier ones are of another account that had its id."""
    removals = [
        number
        for number, one in enumerate(trail, 1)
        if not isinstance(one, AttemptRow) and (one.action, one.account_id) == (Action.REMOVE, account.id)
    ]
    return [
        one for one in trail[max(removals, default=0) :] if _at(one) >= account.created_at - _MADE_WITHIN_S
    ]


def entry_json(entry: Attempt | Audit) -> dict[str, Any]:
    """Return an entry of `History.trail` as scripts and clients of the API read it."""
    return {"kind": "attempt"} | vars(entry) if isinstance(entry, AttemptRow) else entry.to_json()


def _attempts(connection: Connection, sql: str, parameters: Mapping[str, Any]) -> list[Attempt]:
    return cast("list[Attempt]", plain_rows(connection, AttemptRow, sql, parameters))


def _at(entry: Attempt | Audit) -> float:
    return entry.opened_at if isinstance(entry, AttemptRow) else entry.at
