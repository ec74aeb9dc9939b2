"""The planner's and the reconciler's looks at the fleet cost what they find, not what there is."""

from __future__ import annotations

from worker.io.database import make_engine, now_sql, reading
from worker.io.schedule import abandoned


def test_abandoned_attempts_are_found_by_an_index(sqlite_url: str) -> None:
    """On SQLite: PostgreSQL's planner reads a small table as a whole, whatever its indexes."""
    engine = make_engine(sqlite_url)
    with reading(engine) as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {abandoned(now_sql(engine))}").all()
    engine.dispose()
    assert "SEARCH account USING INDEX ix_account_unplanned_claim" in str(plan)
