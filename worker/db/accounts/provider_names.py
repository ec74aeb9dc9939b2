"""The SQL of the names of providers that accounts have."""

from __future__ import annotations

from sqlalchemy import Engine, text

from worker.db.engine import reading


def providers_in_use(engine: Engine, *, beside: str = "") -> list[str]:
    """Return the names that accounts have, in order, without those that the account `beside` alone has."""
    with reading(engine) as connection:
        found = connection.execute(
            text("SELECT DISTINCT provider FROM account WHERE id <> :beside ORDER BY provider"),
            {"beside": beside},
        ).scalars()
        return [str(one) for one in found]
