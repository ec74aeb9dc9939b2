"""Accounts that a person wants refreshed, many at once: they are due from now on, and plans take them at their provider's rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, Engine, text

from worker.db.bulk import among_sql, many
from worker.db.engine import now_sql, writing


def make_due(
    engine: Engine, ids: Sequence[str], *, reason: str, note: Callable[[Connection, int], None]
) -> int:
    """Have accounts be due now that would be later; returns how many.

    What a plan has claimed, a pause has set aside or no plan takes stays as it is. `note` writes in the same commit
    that it was asked for.
    """
    now = now_sql(engine)
    with writing(engine) as connection:
        count = connection.execute(
            text(
                f"""
                UPDATE account SET plan_at = {now}, next_refresh_at = {now}, due_reason = :reason
                WHERE {among_sql(engine, "id", "ids")} AND next_refresh_at > {now} AND plan_at = next_refresh_at
                """
            ),
            {"reason": reason, "ids": many(engine, ids)},
        ).rowcount
        note(connection, count)
    return count
