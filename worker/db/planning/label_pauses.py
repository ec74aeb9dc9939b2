"""The SQL of pauses of labels: a table beside `pause`, so that a planner of the release before goes on without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection

from models.act import Actor
from models.label import label_of
from models.pause_scope import PauseEntry, Scope
from worker.db.bulk import execute
from worker.db.plain_rows import plain_rows

_LABEL: Final = {"name": "text", "value": "text"}
#: Columns of `pause` and `label_pause` for which SQLite has numbers.
BOOLEANS: Final = ("resumed",)
#: Rows of `label_pause` as pauses of the scope `label`.
_WHOLE: Final = (
    f"SELECT '{Scope.LABEL.value}' AS scope, name || '=' || value AS name, paused_at, \"until\", actor, host, reason, resumed"
    " FROM label_pause"
)
#: The labels that accounts have and that are paused; a condition on `account_label` or `label_pause` follows.
JOINED: Final = (
    "label_pause JOIN account_label ON account_label.name = label_pause.name"
    " AND account_label.value = label_pause.value"
)


def in_force(now: str) -> str:
    """Return the SQL that tells whether a row of `label_pause` is in force."""
    return f'(label_pause."until" IS NULL OR label_pause."until" > {now})'


def is_paused(now: str) -> str:
    """Return the SQL that tells whether a row of `account` has a label that is paused."""
    return f"EXISTS (SELECT 1 FROM {JOINED} WHERE account_label.account_id = account.id AND {in_force(now)})"


def found(connection: Connection, now: str, *, over: bool = False, limit: int = 10_000) -> list[PauseEntry]:
    """Return the pauses in force, oldest first; with `over`, those that are over."""
    condition = f"NOT {in_force(now)}" if over else in_force(now)
    sql = f"{_WHOLE} WHERE {condition} ORDER BY paused_at LIMIT :limit"
    return plain_rows(connection, PauseEntry, sql, {"limit": limit}, booleans=BOOLEANS)


def of(connection: Connection, account_id: str, now: str) -> list[PauseEntry]:
    """Return the pauses in force that an account's labels are under."""
    sql = (
        f"{_WHOLE} WHERE EXISTS (SELECT 1 FROM account_label WHERE account_label.account_id = :account"
        f" AND account_label.name = label_pause.name AND account_label.value = label_pause.value) AND {in_force(now)}"
    )
    return plain_rows(connection, PauseEntry, sql, {"account": account_id}, booleans=BOOLEANS)


def begin(
    connection: Connection,
    names: Sequence[str],
    *,
    now: float,
    until: float | None,
    reason: str,
    actor: Actor,
) -> list[tuple[Any, ...]]:
    """Pause labels, NAME=VALUE each; return (label, since when) of each."""
    rows = execute(
        connection,
        _LABEL,
        f"""
        INSERT INTO label_pause (name, value, paused_at, "until", actor, host, reason, resumed)
        SELECT r.name, r.value, :now, CAST(:until AS double precision), :actor, :host, :reason, false FROM r WHERE true
        ON CONFLICT (name, value) DO UPDATE SET "until" = excluded."until", reason = excluded.reason,
         actor = excluded.actor, host = excluded.host, resumed = false,
         paused_at = CASE WHEN {in_force(":now")} THEN label_pause.paused_at ELSE excluded.paused_at END
        RETURNING name, value, paused_at
        """,
        _rows(names),
        now=now,
        until=until,
        actor=actor.name,
        host=actor.host,
        reason=reason,
    )
    return [(f"{name}={value}", paused_at) for name, value, paused_at in rows]


def end(connection: Connection, names: Sequence[str], now: str) -> list[tuple[Any, ...]]:
    """End pauses, and return the labels that were paused."""
    rows = execute(
        connection,
        _LABEL,
        f"""
        UPDATE label_pause SET "until" = {now}, resumed = true FROM r
        WHERE label_pause.name = r.name AND label_pause.value = r.value AND {in_force(now)}
        RETURNING label_pause.name, label_pause.value
        """,
        _rows(names),
    )
    return [(f"{name}={value}",) for name, value in rows]


def forget(connection: Connection, names: Sequence[str], now: str) -> list[tuple[Any, ...]]:
    """Delete pauses that are over; return (label, whether a person ended it) of each."""
    rows = execute(
        connection,
        _LABEL,
        f"""
        DELETE FROM label_pause WHERE EXISTS
         (SELECT 1 FROM r WHERE r.name = label_pause.name AND r.value = label_pause.value)
         AND NOT {in_force(now)} RETURNING name, value, resumed
        """,
        _rows(names),
    )
    return [(f"{name}={value}", resumed) for name, value, resumed in rows]


def _rows(names: Sequence[str]) -> list[dict[str, str]]:
    return [dict(zip(("name", "value"), label_of(name), strict=True)) for name in sorted(names)]
