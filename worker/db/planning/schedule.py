"""The SQL of the planner: which accounts are due, and which of them a plan has claimed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Engine, text

from models.tables.account import RefreshMethod
from models.tables.attempt import INTERRUPTED, Outcome
from worker.db.bulk import among_sql, execute, many
from worker.db.claims import CLAIMED, NO_END, Claim, DueAccount, Outlook, due_account
from worker.db.engine import is_sqlite, now_sql, reading, writing
from worker.db.planning.pauses import is_paused
from worker.db.records.history import note_paused

#: The order of need: the token that ends soonest first. As an expression, so that PostgreSQL does not walk along the ends
#: of tokens that are not due.
_NEED: Final = f"coalesce(expires_at, {NO_END:.0f}.0)"
_CALLBACK: Final[dict[str, Any]] = {"callback": RefreshMethod.CALLBACK.value}


class Schedule:
    """Claims of the planner.

    Args:
        engine: the database.
        now: SQL of the clock; None: the database's. A simulation has a clock of its own.
    """

    def __init__(self, engine: Engine, *, now: str | None = None) -> None:
        self._engine = engine
        self._now = now or now_sql(engine)
        self._skip_locked = "" if is_sqlite(engine) else "FOR UPDATE SKIP LOCKED"

    def claim_due(
        self, limit: int, *, hold_s: float, callback: bool | None = None, some_paused: bool = False
    ) -> Claim:
        """Claim due accounts in the order of need; no other plan sees them for so many seconds.

        Args:
            limit: how many at most.
            hold_s: seconds after which an account whose message is lost is due again.
            callback: only accounts that a callback refreshes, or only others; None: both.
            some_paused: set those aside that are paused: no plan sees them until they come back; their history says so.
        """
        ids = self._due(limit, callback)
        if not ids:
            return Claim([], 0)
        held = f"CASE WHEN {is_paused(self._now)} THEN NULL ELSE" if some_paused else ""
        with writing(self._engine) as connection:
            rows = connection.execute(
                text(
                    f"""
                    UPDATE account SET plan_at = {held} {self._now} + :hold_s {"END" if held else ""} WHERE id IN (
                      SELECT id FROM account WHERE {among_sql(self._engine, "id", "ids")}
                       AND plan_at <= {self._now} {self._skip_locked}
                    ) RETURNING {CLAIMED}, plan_at
                    """
                ),
                {"hold_s": hold_s, "ids": many(self._engine, ids)},
            ).all()
            note_paused(connection, [(str(row[0]), int(row[1])) for row in rows if row[-1] is None])
        claimed = [due_account(row) for row in rows if row[-1] is not None]
        return Claim(sorted(claimed, key=lambda one: one.need), len(ids))

    def _due(self, limit: int, callback: bool | None) -> list[str]:
        """Return the ids of due accounts in the order of need: sorted in an index that has all that it takes."""
        which = "" if callback is None else f"AND refresh_method {'=' if callback else '<>'} :callback"
        with reading(self._engine) as connection:
            found = connection.execute(
                text(
                    f"""
                    SELECT id FROM account WHERE plan_at IS NOT NULL AND plan_at <= {self._now} {which}
                    ORDER BY {_NEED} LIMIT :limit
                    """
                ),
                {"limit": limit} | (_CALLBACK if which else {}),
            )
            return [str(account_id) for account_id in found.scalars()]

    def begun(self, within_s: float, *, callback: bool) -> tuple[int, int]:
        """Count the attempts of so many seconds, and the messages that they came with."""
        joined = "JOIN account ON account.id = attempt.account_id AND account.refresh_method = :callback"
        with reading(self._engine) as connection:
            row = connection.execute(
                text(
                    f"SELECT count(*), count(DISTINCT attempt.task_id) FROM attempt {joined if callback else ''} "
                    f"WHERE attempt.opened_at > {self._now} - :within_s"
                ),
                {"within_s": within_s} | (_CALLBACK if callback else {}),
            ).one()
        return int(row[0]), int(row[1])

    def due_counts(self, horizons_s: Sequence[float]) -> dict[str, dict[float, int]]:
        """Count the accounts that come due: provider -> seconds from now -> how many until then."""
        counts = ", ".join(
            f"sum(CASE WHEN next_refresh_at <= {self._now} + {float(s)} THEN 1 ELSE 0 END)"
            for s in horizons_s
        )
        with reading(self._engine) as connection:
            rows = connection.execute(
                text(
                    f"""
                    SELECT provider, {counts} FROM account
                    WHERE next_refresh_at > {self._now} AND next_refresh_at <= {self._now} + {float(max(horizons_s))}
                    GROUP BY provider
                    """
                )
            ).all()
        return {str(row[0]): dict(zip(horizons_s, map(int, row[1:]), strict=True)) for row in rows}

    def claim_early(
        self, provider: str, limit: int, *, hold_s: float, reason: str, some_paused: bool = False
    ) -> list[DueAccount]:
        """Claim accounts of one provider that are not due yet, soonest first: they are due from now on.

        With `some_paused`, those that are paused are left out.
        """
        free = f"AND NOT {is_paused(self._now)}" if some_paused else ""
        with writing(self._engine) as connection:
            rows = connection.execute(
                text(
                    f"""
                    UPDATE account SET plan_at = {self._now} + :hold_s, next_refresh_at = {self._now},
                     due_reason = :reason WHERE id IN (
                      SELECT id FROM account WHERE provider = :provider AND next_refresh_at > {self._now}
                       AND plan_at = next_refresh_at AND status IN ('active', 'degraded') {free}
                      ORDER BY next_refresh_at LIMIT :limit {self._skip_locked}
                    ) RETURNING {CLAIMED}
                    """
                ),
                {"hold_s": hold_s, "limit": limit, "provider": provider, "reason": reason},
            ).all()
        return [due_account(row) for row in rows]

    def give_back(self, ids: Sequence[str]) -> None:
        """End the planner's claims of accounts that could not be dispatched."""
        with writing(self._engine) as connection:
            execute(
                connection,
                {"id": "text"},
                """
                UPDATE account SET plan_at = account.next_refresh_at
                FROM r WHERE account.id = r.id AND account.plan_at IS NOT NULL
                """,
                [{"id": account_id} for account_id in ids],
            )

    def postpone(self, turns: Sequence[tuple[str, float]]) -> None:
        """Write when claimed accounts are planned again: (id, seconds from now) each."""
        with writing(self._engine) as connection:
            execute(
                connection,
                {"id": "text", "after_s": "double precision"},
                f"""
                UPDATE account SET plan_at = {self._now} + r.after_s
                FROM r WHERE account.id = r.id AND account.plan_at IS NOT NULL
                """,
                [{"id": account_id, "after_s": after_s} for account_id, after_s in turns],
            )

    def give_back_all(self) -> None:
        """End every claim of the planner at once: the messages that it sent are gone."""
        with writing(self._engine) as connection:
            connection.execute(
                text(
                    f"""
                    UPDATE account SET plan_at = next_refresh_at
                    WHERE plan_at > {self._now} AND next_refresh_at <= {self._now} AND claim_attempt IS NULL
                     AND held_by IS NULL
                    """
                )
            )

    def outlook(self, name: str) -> Outlook:
        """Return what the last holder of a lock noted, the time, and whether any account is due: one statement."""
        with reading(self._engine) as connection:
            row = connection.execute(
                text(
                    f"SELECT (SELECT note FROM duty WHERE name = :name), {self._now}, {some_due(self._now)}"
                ),
                {"name": name},
            ).one()
        return Outlook(row[0], float(row[1]), bool(row[2]))

    def close_abandoned(self) -> int:
        """Close attempts that outlived their claim on accounts that no plan looks at; return their number."""
        with writing(self._engine) as connection:
            rows = connection.execute(
                text(
                    f"""
                    UPDATE attempt SET closed_at = {self._now}, outcome = :outcome, reason = :reason
                    WHERE closed_at IS NULL AND id IN ({abandoned(self._now)}) RETURNING account_id
                    """
                ),
                {"outcome": Outcome.RETRY.value, "reason": INTERRUPTED},
            ).all()
            execute(
                connection,
                {"id": "text"},
                f"""
                UPDATE account SET claim_attempt = NULL, claim_until = NULL
                FROM r WHERE account.id = r.id AND account.claim_until <= {self._now}
                """,
                [{"id": row[0]} for row in rows],
            )
        return len(rows)


def some_due(now: str) -> str:
    """Return the SQL that tells whether any account is due."""
    # The first of an index: where PostgreSQL believes that much is due, EXISTS looks for it in the table.
    return f"coalesce((SELECT min(plan_at) FROM account WHERE plan_at > 0) <= {now}, false)"


def abandoned(now: str) -> str:
    """Return the SELECT of attempts that outlived their claim where no plan looks; an index answers it."""
    return f"""
    SELECT claim_attempt FROM account
    WHERE claim_attempt IS NOT NULL AND plan_at IS NULL AND claim_until <= {now}
    """
