"""The SQL of accounts that a gate holds: who they are, whom to send next, and their way back into the plan."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Engine, text

from worker.db.claims import CLAIMED, DueAccount, due_account
from worker.db.engine import is_sqlite, now_sql, reading, writing
from worker.db.planning.pauses import is_paused

#: The names of all gates that hold anybody: one look into the index a name, however many accounts each holds.
_NAMES = """
WITH RECURSIVE gate(name) AS (
  SELECT min(held_by) FROM account WHERE held_by IS NOT NULL
  UNION ALL
  SELECT (SELECT min(held_by) FROM account WHERE held_by IS NOT NULL AND held_by > gate.name)
  FROM gate WHERE gate.name IS NOT NULL
)
SELECT name FROM gate WHERE name IS NOT NULL LIMIT :limit
"""


class Held(Struct, frozen=True):
    """How many accounts one gate holds."""

    gate: str
    accounts: int
    #: Those whose token has ended meanwhile.
    ended: int
    #: Those whose last call did not fail: each is called before its token ends, at the gate's trickle.
    healthy: int
    #: The soonest end of a healthy one's token, epoch seconds.
    ends_first_at: float | None
    #: The healthy ones whose token ends before the trickle can reach them.
    too_many: int


class HeldAccounts:
    """Finds, sends and releases accounts that gates hold."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._now = now_sql(engine)
        self._skip_locked = "" if is_sqlite(engine) else "FOR UPDATE SKIP LOCKED"

    def gates(self, limit: int = 1_000) -> list[str]:
        """Return the names of the gates that hold accounts, open or closed."""
        with reading(self._engine) as connection:
            return [str(name) for name in connection.scalars(text(_NAMES), {"limit": limit})]

    def claim_healthy(self, gate: str, limit: int, *, hold_s: float) -> list[DueAccount]:
        """Claim healthy accounts, soonest to end first."""
        where = "failed_at IS NULL AND expires_at IS NOT NULL"
        return self._claim(gate, where, "expires_at", limit, hold_s=hold_s)

    def claim_probe(self, gate: str, *, last_failed: str, hold_s: float) -> list[DueAccount]:
        """Claim the account that tries next whether the trouble is over.

        A healthy one, else one that worked before, and of those the one that has waited longest since its own last call.
        The one that failed last comes when nobody else is there.
        """
        order = "id = :last_failed, failed_at IS NOT NULL, succeeded_at IS NULL, failed_at"
        return self._claim(gate, "true", order, 1, hold_s=hold_s, last_failed=last_failed)

    def _claim(
        self, gate: str, where: str, order: str, limit: int, *, hold_s: float, **more: str
    ) -> list[DueAccount]:
        with writing(self._engine) as connection:
            rows = connection.execute(
                text(
                    f"""
                    UPDATE account SET plan_at = {self._now} + :hold_s WHERE id IN (
                      SELECT id FROM account WHERE held_by = :gate AND claim_attempt IS NULL AND {where}
                       AND plan_at > {self._now} + :hold_s AND NOT {is_paused(self._now)}
                      ORDER BY {order} LIMIT :limit {self._skip_locked}
                    ) RETURNING {CLAIMED}
                    """
                ),
                {"gate": gate, "limit": limit, "hold_s": hold_s, **more},
            ).all()
        return [due_account(row) for row in rows]

    def release(self, gate: str, limit: int) -> int:
        """Bring accounts of an open gate back into the plan, soonest to end first; return how many.

        They are due at once, but for those that wait for a time of their own: a Retry-After that they heard, or a backoff.
        """
        with writing(self._engine) as connection:
            return connection.execute(
                text(
                    f"""
                    UPDATE account SET held_by = NULL, plan_at = CASE WHEN plan_at IS NULL THEN NULL
                     WHEN next_refresh_at > {self._now} THEN next_refresh_at ELSE {self._now} END WHERE id IN (
                      SELECT id FROM account WHERE held_by = :gate ORDER BY expires_at LIMIT :limit {self._skip_locked})
                    """
                ),
                {"gate": gate, "limit": limit},
            ).rowcount

    def next_of(self, gate: str, *, last_failed: str) -> tuple[str | None, str | None]:
        """Return the ids of the healthy account that is called next, and of the one that probes next."""
        with reading(self._engine) as connection:
            healthy = connection.scalar(
                text(
                    "SELECT id FROM account WHERE held_by = :gate AND failed_at IS NULL "
                    "AND expires_at IS NOT NULL ORDER BY expires_at LIMIT 1"
                ),
                {"gate": gate},
            )
            probe = connection.scalar(
                text(
                    "SELECT id FROM account WHERE held_by = :gate ORDER BY id = :last_failed, failed_at IS NOT NULL, "
                    "succeeded_at IS NULL, failed_at LIMIT 1"
                ),
                {"gate": gate, "last_failed": last_failed},
            )
        return healthy, probe

    def totals(self) -> dict[str, tuple[int, int]]:
        """Return for each gate how many accounts it holds, and how many of them have no living token."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                text(
                    f"""
                    SELECT held_by, count(*), sum(CASE WHEN expires_at <= {self._now} THEN 1 ELSE 0 END)
                    FROM account WHERE held_by IS NOT NULL GROUP BY held_by
                    """
                )
            ).all()
        return {str(name): (int(number), int(ended)) for name, number, ended in rows}

    def count(self, gate: str, *, calls_per_s: float) -> Held:
        """Count whom a gate holds, whose trickle lets so many calls a second through."""
        # The nth healthy account to end is reached after n / rate seconds: too late where it ends before.
        statement = f"""
        SELECT count(*), sum(CASE WHEN expires_at <= {self._now} THEN 1 ELSE 0 END),
         sum(CASE WHEN failed_at IS NULL THEN 1 ELSE 0 END),
         min(CASE WHEN failed_at IS NULL THEN expires_at END),
         sum(CASE WHEN failed_at IS NULL AND expires_at > {self._now}
          AND expires_at < {self._now} + nth / :calls_per_s THEN 1 ELSE 0 END)
        FROM (SELECT expires_at, failed_at, row_number() OVER (PARTITION BY failed_at IS NULL ORDER BY expires_at) AS nth
              FROM account WHERE held_by = :gate) AS held
        """
        with reading(self._engine) as connection:
            row = connection.execute(text(statement), {"gate": gate, "calls_per_s": calls_per_s}).one()
        return Held(gate, int(row[0]), int(row[1] or 0), int(row[2] or 0), row[3], int(row[4] or 0))
