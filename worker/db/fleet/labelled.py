"""The SQL of the numbers of the accounts that have some labels: what `status --label` shows of them."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from sqlalchemy import Engine, text

from worker.db.engine import database_now, reading
from worker.db.fleet.counts import FAILING_SHOWN_MAX, OVERDUE_AFTER_S, Counts
from worker.db.planning.pauses import is_paused


class Labelled(Struct, frozen=True, kw_only=True):
    """Numbers of some accounts. Times are epoch seconds of the database's clock."""

    now: float
    #: (provider, status) -> accounts.
    by_status: Counts
    #: (provider, status, reason) -> accounts that fail, largest first.
    failing: Counts
    #: Due for long, and not paused.
    overdue: int
    oldest_due_at: float | None
    #: Due, and held by a pause.
    paused: int
    #: (account, end of its token) of the tokens that end first.
    soonest: tuple[tuple[str, float], ...]

    @property
    def accounts(self) -> int:
        return sum(self.by_status.values())


def look_at(engine: Engine, labels: Mapping[str, str], *, soonest: int = 5) -> Labelled:
    """Return the numbers of the accounts that have all of these labels: a look at each of them."""
    conditions = " AND ".join(
        f"id IN (SELECT account_id FROM account_label WHERE name = :name_{nth} AND value = :value_{nth})"
        for nth in range(len(labels))
    )
    values = {
        key: text_
        for nth, (name, value) in enumerate(labels.items())
        for key, text_ in ((f"name_{nth}", name), (f"value_{nth}", value))
    }
    with reading(engine) as connection:
        now = database_now(connection)

        def rows(sql: str, **more: float) -> list[tuple[object, ...]]:
            return [tuple(row) for row in connection.execute(text(sql), values | more)]

        paused = is_paused(":now")
        ((overdue, oldest, held),) = rows(
            f"""
            SELECT coalesce(sum(CASE WHEN {paused} THEN 0 ELSE 1 END), 0),
             min(CASE WHEN {paused} THEN NULL ELSE next_refresh_at END), coalesce(sum(CASE WHEN {paused} THEN 1 ELSE 0 END), 0)
            FROM account WHERE next_refresh_at < :now - :late AND {conditions}
            """,
            now=now,
            late=OVERDUE_AFTER_S,
        )
        by_status = rows(
            f"SELECT provider, status, count(*) FROM account WHERE {conditions} GROUP BY provider, status"
        )
        failing = rows(
            f"""
            SELECT provider, status, coalesce(reason, ''), count(*) FROM account
            WHERE status IN ('degraded', 'reauthorize', 'misconfigured') AND {conditions}
            GROUP BY status, provider, reason ORDER BY 4 DESC, 1, 2, 3 LIMIT :most
            """,
            most=FAILING_SHOWN_MAX,
        )
        ends = rows(
            f"SELECT id, expires_at FROM account WHERE expires_at > :now AND {conditions} ORDER BY expires_at LIMIT :most",
            now=now,
            most=soonest,
        )
    return Labelled(
        now=now,
        by_status=_counts(by_status),
        failing=_counts(failing),
        overdue=int(str(overdue)),
        oldest_due_at=None if oldest is None else float(str(oldest)),
        paused=int(str(held)),
        soonest=tuple((str(account), float(str(at))) for account, at in ends),
    )


def _counts(rows: list[tuple[object, ...]]) -> Counts:
    return {tuple(map(str, key)): int(str(number)) for *key, number in rows}
