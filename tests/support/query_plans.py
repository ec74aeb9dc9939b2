"""Records the statements that reach a database, and finds those whose query plan reads a large table whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Engine, event

from worker.db.engine import is_sqlite

#: Tables that grow with the fleet, and the names by which statements call them a second time.
_LARGE: Final = frozenset({"account", "attempt", "surplus", "kept"})
#: Indexes of few accounts, whatever the size of the fleet: what fails, what a pause has set aside, what Redis lacks.
SMALL_INDEXES: Final = frozenset(
    {
        "ix_account_aside",
        "ix_account_callback",
        "ix_account_failing",
        "ix_account_held",
        "ix_account_held_healthy",
        "ix_account_refresh_token_end",
        "ix_account_unplanned_claim",
        "ix_account_unpublished",
    }
)
#: Counts accounts by status and provider, which is the whole of a narrow index: for people and Prometheus, never for a task.
COUNTING_INDEX: Final = "ix_account_status_provider"

Statement = tuple[str, Any]


@contextmanager
def recorded() -> Iterator[list[Statement]]:
    """Record each statement that any engine sends within the block, with its parameters."""
    sent: list[Statement] = []

    def before(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        sent.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", before)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", before)


@contextmanager
def traced(engine: Engine) -> Iterator[list[Statement]]:
    """Record each statement of one SQLite engine as the library runs it, its values in place of its parameters."""
    sent: list[Statement] = []

    def checkout(connection: Any, *_: object) -> None:
        connection.set_trace_callback(lambda statement: sent.append((statement, ())))

    event.listen(engine, "checkout", checkout)
    try:
        yield sent
    finally:
        event.remove(engine, "checkout", checkout)


def whole_reads(
    engine: Engine, statements: list[Statement], *, whole: frozenset[str] = SMALL_INDEXES
) -> list[str]:
    """Return a line for each statement whose plan reads a large table, or an index of it that is not in `whole`, whole."""
    distinct = {
        statement: parameters
        for statement, parameters in statements
        if re.match(r"\s*(WITH|SELECT|UPDATE|DELETE|INSERT)\b", statement)
    }
    found = []
    with engine.connect() as connection:
        for statement, parameters in distinct.items():
            problems = (
                _sqlite_problems(connection, statement, whole)
                if is_sqlite(engine)
                else _postgres_problems(connection, statement, parameters, whole)
            )
            found += [f"{problem}: {' '.join(statement.split())[:300]}" for problem in problems]
            connection.rollback()
    return found


def _sqlite_problems(connection: Any, statement: str, whole: frozenset[str]) -> Iterator[str]:
    cursor = connection.connection.cursor()
    try:
        rows = cursor.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
    finally:
        cursor.close()
    for *_, detail in rows:
        scanned = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", detail)
        if scanned and scanned[1] in _LARGE and scanned[2] not in whole:
            yield detail
        if "ix_account_status_provider (status=?)" in detail:  # nearly every account is active
            yield detail


def _postgres_problems(
    connection: Any, statement: str, parameters: Any, whole: frozenset[str]
) -> Iterator[str]:
    answer = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    plan = json.loads(answer) if isinstance(answer, str) else answer
    nodes = [plan[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        below = node.get("Plans", [])
        # max() of a column that is never null: since PostgreSQL 17 without the condition that it is not.
        if node["Node Type"] == "Limit" and node["Plan Rows"] == 1:
            below = [one for one in below if "Filter" in one or "Index Name" not in one]
        nodes += below
        kind, index = node["Node Type"], node.get("Index Name")
        if kind == "Seq Scan" and node["Relation Name"] in _LARGE:
            yield f"{kind} on {node['Relation Name']}"
        large = index is not None and index.startswith(("ix_account_", "ix_attempt_", "account_", "attempt_"))
        if large and "Index Cond" not in node and index not in whole:
            yield f"{kind} along the whole of {index}"
