"""The SQL of the fleet's gauges: every count is answered by an index.

Measured on a million accounts, see docs/monitoring.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine, text

from worker.db.engine import database_now, reading
from worker.db.fleet.overview import OVERDUE_AFTER_S

#: Tokens are counted that end within so many seconds from now.
ENDS_WITHIN_S: Final = (60, 300, 900, 3600, 21_600, 86_400)
#: Refresh tokens with a hard end, announced days before.
HARD_ENDS_WITHIN_S: Final = (86_400, 7 * 86_400, 30 * 86_400)
#: Groups of what fails: the largest ones.
FAILING_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Overdue:
    """Accounts of one provider that are behind, and by how much the worst of them, seconds."""

    accounts: int
    worst_s: float


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Webhooks that have not arrived."""

    waiting: int
    #: Since when the oldest of them waits, seconds.
    oldest_s: float
    #: Given up, until somebody asks for them.
    put_aside: int


@dataclass(frozen=True, slots=True)
class FleetCounts:
    """One count of everything. Ages are seconds by the database's clock."""

    #: (provider, status) -> accounts.
    accounts: Mapping[tuple[str, str], int]
    #: (provider, status, reason) -> accounts that are not as they should be.
    failing: Mapping[tuple[str, str, str], int]
    #: Provider -> accounts that are due and not refreshed yet.
    overdue: Mapping[str, Overdue]
    #: Provider -> planned, active accounts whose token has ended.
    expired: Mapping[str, Overdue]
    #: Seconds -> tokens that end within them.
    ending: Mapping[int, int]
    #: Seconds -> refresh tokens that end for good within them.
    hard_ending: Mapping[int, int]
    #: Accounts whose latest token Redis lacks.
    unpublished: int
    #: Duty (`plan`, `reconcile`, ...) -> seconds since it was last done; None: never.
    duty_age_s: Mapping[str, float | None]
    #: Callback -> accounts that it refreshes.
    callbacks: Mapping[str, int]
    #: Scope (`all`, `provider`, `account`) -> pauses in force.
    pauses: Mapping[str, int]
    webhooks: Webhooks
    #: Gate -> accounts that it holds.
    held: Mapping[str, int] = field(default_factory=dict)


def count(engine: Engine) -> FleetCounts:
    """Count everything once.

    Raises:
        DatabaseUnreachable: it can't be counted.
    """
    with reading(engine) as connection:
        # Read once: as a function in a condition, SQLite would compute it for every row.
        now = database_now(connection)

        def rows(sql: str, **parameters: object) -> list[tuple]:  # type: ignore[type-arg]
            return [tuple(row) for row in connection.execute(text(sql), {"now": now, **parameters})]

        def within(column: str, horizons_s: tuple[int, ...], where: str = "true") -> dict[int, int]:
            """Count range by range, each of them in the index alone; what ends sooner ends within the longer, too."""
            counts: dict[int, int] = {}
            total, start_s = 0, 0
            for end_s in horizons_s:
                found = rows(
                    f"""
                    SELECT count(*) FROM account
                    WHERE {column} > :now + :start_s AND {column} <= :now + :end_s AND {where}
                    """,
                    start_s=start_s,
                    end_s=end_s,
                )
                total, start_s = total + int(found[0][0]), end_s
                counts[end_s] = total
            return counts

        def late(column: str, where: str, **parameters: object) -> dict[str, Overdue]:
            found = rows(
                f"SELECT provider, count(*), :now - min({column}) FROM account WHERE {where} GROUP BY provider",
                **parameters,
            )
            return {str(row[0]): Overdue(int(row[1]), float(row[2])) for row in found}

        def webhooks() -> Webhooks:
            waiting = "SELECT count(*), :now - min(created_at) FROM webhook WHERE next_at IS NOT NULL"
            number, oldest_s = rows(waiting)[0]
            put_aside = rows("SELECT count(*) FROM webhook WHERE failed_at IS NOT NULL")[0][0]
            return Webhooks(int(number), float(oldest_s or 0), int(put_aside))

        return FleetCounts(
            accounts={
                (str(row[0]), str(row[1])): int(row[2])
                for row in rows("SELECT provider, status, count(*) FROM account GROUP BY status, provider")
            },
            failing={
                (str(row[0]), str(row[1]), str(row[2])): int(row[3])
                for row in rows(
                    """
                    SELECT provider, status, coalesce(reason, ''), count(*) FROM account
                    WHERE status IN ('degraded', 'reauthorize', 'misconfigured')
                    GROUP BY provider, status, reason ORDER BY 4 DESC LIMIT :most
                    """,
                    most=FAILING_MAX,
                )
            },
            # Without what is not planned at all: it is nobody's fault that it is not refreshed.
            overdue=late(
                "next_refresh_at",
                "next_refresh_at < :now - :late AND plan_at IS NOT NULL",
                late=OVERDUE_AFTER_S,
            ),
            # `||` keeps SQLite from the index of the status: nearly every account is active, and few tokens have ended.
            expired=late(
                "expires_at", "expires_at <= :now AND status || '' = 'active' AND plan_at IS NOT NULL"
            ),
            ending=within("expires_at", ENDS_WITHIN_S),
            hard_ending=within(
                "refresh_token_expires_at",
                HARD_ENDS_WITHIN_S,
                "refresh_token_end_fixed AND status NOT IN ('disabled', 'reauthorize')",
            ),
            unpublished=int(
                rows("SELECT count(*) FROM account WHERE published_generation < generation")[0][0]
            ),
            duty_age_s={
                str(name): None if age is None else max(float(age), 0.0)
                for name, age in rows("SELECT name, :now - finished_at FROM duty")
            },
            callbacks={
                str(name): int(accounts)
                for name, accounts in rows(
                    """
                    SELECT callback, count(*) FROM account
                    WHERE refresh_method = 'callback' AND callback IS NOT NULL GROUP BY callback
                    """
                )
            },
            pauses={
                str(scope): int(number)
                for scope, number in rows(
                    """
                    SELECT scope, count(*) FROM pause
                    WHERE NOT resumed AND (until IS NULL OR until > :now) GROUP BY scope
                    """
                )
            },
            webhooks=webhooks(),
            held={
                str(gate): int(number)
                for gate, number in rows(
                    "SELECT held_by, count(*) FROM account WHERE held_by IS NOT NULL GROUP BY held_by"
                )
            },
        )
