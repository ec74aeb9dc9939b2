"""Entries of the audit trail, as they are written: in the transaction of what they tell, where there is one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from models.act import Act, Action, Actor
from models.outcome import new_attempt_ids
from worker.clock import wall_clock
from worker.db.bulk import execute
from worker.db.engine import now_sql, writing

_COLUMNS: Final = {
    "id": "text",
    "actor": "text",
    "host": "text",
    "action": "text",
    "account_id": "text",
    "provider": "text",
    "detail": "text",
}


def record(connection: Connection, actor: Actor, acts: Sequence[Act]) -> list[str]:
    """Write down, in an open transaction, what somebody does; returns the ids of the entries."""
    entries = entries_of([(actor, act) for act in acts])
    execute(
        connection,
        _COLUMNS,
        f"""
        INSERT INTO audit ({", ".join(_COLUMNS)}, at)
        SELECT {", ".join(f"r.{name}" for name in _COLUMNS)}, {now_sql(connection.engine)} FROM r WHERE true
        """,
        entries,
    )
    return [entry["id"] for entry in entries]


def entries_of(acts: Sequence[tuple[Actor, Act]]) -> list[dict[str, Any]]:
    """Return the columns of new entries of the audit trail, without their time."""
    return [
        {
            "id": entry,
            "actor": actor.name,
            "host": actor.host,
            "action": act.action.value,
            "account_id": act.account,
            "provider": act.provider,
            "detail": _json(act),
        }
        for entry, (actor, act) in zip(new_attempt_ids(wall_clock(), len(acts)), acts, strict=True)
    ]


class RunningEntry:
    """The entry of something that takes many commits: written with the first, brought up to date with each.

    However it ends, the entry tells what was done of it.
    """

    def __init__(self, engine: Engine, actor: Actor, action: Action, detail: dict[str, Any]) -> None:
        self._engine = engine
        self._actor = actor
        self._action = action
        self._detail = detail
        self._id: str | None = None
        self._counts: dict[str, int] | None = None

    def write(self, connection: Connection, counts: dict[str, int]) -> None:
        """Write, in an open transaction, how much is done."""
        self._counts = counts
        act = Act(self._action, detail=self._detail | counts)
        if self._id is not None:
            updated = connection.execute(
                text("UPDATE audit SET detail = :detail WHERE id = :id"),
                {"id": self._id, "detail": _json(act)},
            )
            if updated.rowcount:
                return
        # The first, or the first again after a transaction that was rolled back.
        (self._id,) = record(connection, self._actor, [act])

    def finish(self, counts: dict[str, int]) -> None:
        """Write, in a transaction of its own, what was done in the end; the last commit may have said so already."""
        if counts == self._counts:
            return
        with writing(self._engine) as connection:
            self.write(connection, counts)


def _json(act: Act) -> str:
    return json.dumps(act.detail, ensure_ascii=False, sort_keys=True)
