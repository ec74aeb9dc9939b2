"""The SQL of the whole fleet: how many accounts are how, what is overdue, who planned last. Indexed, no scans."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from sqlalchemy import Engine, text

from models.account import Status
from worker.io.database import database_now, is_sqlite, now_sql, reading


@dataclass(frozen=True, slots=True)
class Group:
    """Accounts of one provider in one status."""

    provider: str
    status: str
    accounts: int


@dataclass(frozen=True, slots=True)
class Failing:
    """Accounts of one provider that are wrong for one reason."""

    provider: str
    status: str
    reason: str
    accounts: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """One look at everything. Times are epoch seconds of the database's clock."""

    now: float
    groups: tuple[Group, ...]
    failing: tuple[Failing, ...]
    overdue: int
    oldest_due_at: float | None
    #: Overdue accounts by provider, most first.
    behind: tuple[tuple[str, int], ...]
    soonest: tuple[tuple[str, float], ...]
    refreshed_last_minute: int
    failed_last_minute: int
    latency_ms: float | None
    planned_at: float | None

    @property
    def accounts(self) -> int:
        return sum(group.accounts for group in self.groups)


#: A due account is overdue after this long: a plan, a message and a call have had their time.
OVERDUE_AFTER_S = 10.0


def look(engine: Engine, *, soonest: int = 5) -> Fleet:
    """Look at the fleet once.

    Raises:
        DatabaseUnreachable: it can't be looked at.
    """
    now = now_sql(engine)
    with reading(engine) as connection:

        def rows(sql: str, **parameters: object) -> list[tuple]:  # type: ignore[type-arg]
            return [tuple(row) for row in connection.execute(text(sql), parameters)]

        overdue = rows(
            f"SELECT count(*), min(next_refresh_at) FROM account WHERE next_refresh_at < {now} - :late",
            late=OVERDUE_AFTER_S,
        )[0]
        recent = rows(
            f"""
            SELECT coalesce(sum(CASE WHEN outcome = 'refreshed' THEN 1 ELSE 0 END), 0),
             coalesce(sum(CASE WHEN outcome IN ('retry', 'rate_limited', 'reauthorize', 'misconfigured') THEN 1 ELSE 0 END), 0),
             avg(CASE WHEN outcome = 'refreshed' THEN latency_ms END)
            FROM attempt WHERE opened_at >= {now} - 60
            """
        )[0]
        planned = rows("SELECT finished_at FROM duty WHERE name = 'plan'")
        return Fleet(
            now=database_now(connection),
            groups=tuple(
                Group(*row)
                for row in rows(
                    "SELECT provider, status, count(*) FROM account GROUP BY status, provider ORDER BY 1, 2"
                )
            ),
            failing=tuple(
                Failing(*row)
                for row in rows(
                    """
                    SELECT provider, status, coalesce(reason, ''), count(*) FROM account
                    WHERE status IN ('degraded', 'reauthorize', 'misconfigured')
                    GROUP BY provider, status, reason ORDER BY 4 DESC LIMIT 20
                    """
                )
            ),
            overdue=int(overdue[0]),
            oldest_due_at=overdue[1],
            behind=tuple(
                (str(row[0]), int(row[1]))
                for row in rows(
                    f"""
                    SELECT provider, count(*) FROM account WHERE next_refresh_at < {now} - :late
                    GROUP BY provider ORDER BY 2 DESC LIMIT 5
                    """,
                    late=OVERDUE_AFTER_S,
                )
            ),
            soonest=tuple(
                (str(row[0]), float(row[1]))
                for row in rows(
                    f"""
                    SELECT id, expires_at FROM account WHERE expires_at > {now} ORDER BY expires_at LIMIT :soonest
                    """,
                    soonest=soonest,
                )
            ),
            refreshed_last_minute=int(recent[0]),
            failed_last_minute=int(recent[1]),
            latency_ms=recent[2],
            planned_at=planned[0][0] if planned else None,
        )


def sealed_with(engine: Engine) -> dict[str, int]:
    """Count sealed values by the key that sealed them: one pass over the accounts."""
    columns = ("client_secret_sealed", "access_token_sealed", "refresh_token_sealed", "custom_fields_sealed")
    key = "substr({0}, 4, instr(substr({0}, 4), '.') - 1)" if is_sqlite(engine) else "split_part({0}, '.', 2)"
    counts: dict[str, int] = {}
    with reading(engine) as connection:
        for column in columns:
            rows = connection.execute(
                text(
                    f"SELECT {key.format(column)}, count(*) FROM account WHERE {column} IS NOT NULL GROUP BY 1"
                )
            )
            for key_id, count in rows:
                counts[str(key_id)] = counts.get(str(key_id), 0) + int(count)
    return dict(sorted(counts.items()))


def uses_callbacks(engine: Engine) -> bool:
    """Tell whether any account is refreshed by a callback."""
    with reading(engine) as connection:
        found = connection.execute(
            text("SELECT 1 FROM account WHERE refresh_method = 'callback' LIMIT 1")
        ).first()
    return found is not None


def knows_provider(engine: Engine, name: str) -> bool:
    """Tell whether any account is of a provider: a look at an index for each status."""
    statuses = ", ".join(f"'{status.value}'" for status in Status)
    with reading(engine) as connection:
        found = connection.execute(
            text(f"SELECT 1 FROM account WHERE status IN ({statuses}) AND provider = :name LIMIT 1"),
            {"name": name},
        ).first()
    return found is not None


#: Ids with the same beginning that are compared.
_ALIKE: Final = 1000


def nearest_ids(engine: Engine, account_id: str) -> list[str]:
    """Give ids that a person may have meant: the same letters in another case, or nearly the same. A scan."""
    with reading(engine) as connection:
        same = connection.execute(
            text("SELECT id FROM account WHERE lower(id) = lower(:id) ORDER BY id LIMIT 3"),
            {"id": account_id},
        ).scalars()
        if found := [str(one) for one in same]:
            return found
        alike = connection.execute(
            text(
                "SELECT id FROM account WHERE lower(substr(id, 1, 2)) = lower(:start) ORDER BY id LIMIT :most"
            ),
            {"start": account_id[:2], "most": _ALIKE},
        ).scalars()
        return get_close_matches(account_id, [str(one) for one in alike], 2, 0.8)
