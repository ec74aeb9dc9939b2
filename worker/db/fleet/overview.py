"""The SQL of the whole fleet: how many accounts are how, what is overdue, who planned last. Indexed, no scans."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine, text

from worker.crypto.cipher import key_of
from worker.db.engine import database_now, now_sql, reading


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
class PausedDue:
    """Accounts of one provider that are due and that a pause holds."""

    provider: str
    accounts: int
    #: Of these, whose token has ended.
    ended: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """One look at everything. Times are epoch seconds of the database's clock."""

    now: float
    groups: tuple[Group, ...]
    failing: tuple[Failing, ...]
    #: Due for longer than a plan, a message and a call take, and not paused.
    overdue: int
    oldest_due_at: float | None
    #: Overdue accounts by provider, most first.
    behind: tuple[tuple[str, int], ...]
    aside: tuple[PausedDue, ...]
    #: Accounts whose token has ended and that would be refreshed; counted where everything is paused, else None.
    ended: int | None
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
#: Providers that are named as behind.
BEHIND_NAMED = 5
_GROUPS: Final = "SELECT provider, status, count(*) FROM account GROUP BY status, provider ORDER BY 1, 2"
_FAILING: Final = """
SELECT provider, status, coalesce(reason, ''), count(*) FROM account
WHERE status IN ('degraded', 'reauthorize', 'misconfigured')
GROUP BY status, provider, reason ORDER BY 4 DESC, 1, 2, 3 LIMIT 20
"""
_OVERDUE: Final = """
SELECT provider, count(*), min(next_refresh_at) FROM account WHERE next_refresh_at < {now} - :late GROUP BY provider
"""
_OLDEST: Final = """
SELECT next_refresh_at FROM account WHERE next_refresh_at < {now} - :late AND provider = :provider
 AND plan_at IS NOT NULL ORDER BY next_refresh_at LIMIT 1
"""
_ASIDE: Final = """
SELECT provider, count(*), sum(CASE WHEN expires_at <= {now} THEN 1 ELSE 0 END),
 sum(CASE WHEN next_refresh_at < {now} - :late THEN 1 ELSE 0 END)
FROM account WHERE plan_at IS NULL AND next_refresh_at IS NOT NULL GROUP BY provider ORDER BY 2 DESC
"""
_ENDED: Final = "SELECT count(*) FROM account WHERE expires_at <= {now} AND next_refresh_at IS NOT NULL"
_RECENT: Final = """
SELECT coalesce(sum(CASE WHEN outcome = 'refreshed' THEN 1 ELSE 0 END), 0),
 coalesce(sum(CASE WHEN outcome IN ('retry', 'rate_limited', 'reauthorize', 'misconfigured') THEN 1 ELSE 0 END), 0),
 avg(CASE WHEN outcome = 'refreshed' THEN latency_ms END)
FROM attempt WHERE opened_at >= {now} - 60
"""
_SOONEST: Final = (
    "SELECT id, expires_at FROM account WHERE expires_at > {now} ORDER BY expires_at LIMIT :soonest"
)


def look(engine: Engine, *, soonest: int = 5, all_paused: bool = False) -> Fleet:
    """Look at the fleet once.

    Args:
        engine: the database.
        soonest: how many of the tokens that end first are named.
        all_paused: everything is paused: count the tokens that have ended.

    Raises:
        DatabaseUnreachable: it can't be looked at.
    """
    now = now_sql(engine)
    with reading(engine) as connection:

        def rows(sql: str, **parameters: object) -> list[tuple]:  # type: ignore[type-arg]
            return [tuple(row) for row in connection.execute(text(sql.format(now=now)), parameters)]

        aside = rows(_ASIDE, late=OVERDUE_AFTER_S)
        held = {str(row[0]): int(row[3]) for row in aside}
        behind: list[tuple[str, int]] = []
        oldest: list[float] = []
        for provider, count, first in rows(_OVERDUE, late=OVERDUE_AFTER_S):
            late = int(count) - held.get(provider, 0)
            if late <= 0:
                continue
            behind.append((str(provider), late))
            if provider in held:  # the first of all may be one that is paused
                oldest += [row[0] for row in rows(_OLDEST, late=OVERDUE_AFTER_S, provider=provider)]
            else:
                oldest.append(first)
        recent = rows(_RECENT)[0]
        planned = rows("SELECT finished_at FROM duty WHERE name = 'plan'")
        return Fleet(
            now=database_now(connection),
            groups=tuple(Group(*row) for row in rows(_GROUPS)),
            failing=tuple(Failing(*row) for row in rows(_FAILING)),
            overdue=sum(count for _, count in behind),
            oldest_due_at=min(oldest, default=None),
            behind=tuple(sorted(behind, key=lambda one: -one[1])[:BEHIND_NAMED]),
            aside=tuple(PausedDue(str(row[0]), int(row[1]), int(row[2])) for row in aside),
            ended=int(rows(_ENDED)[0][0]) if all_paused else None,
            soonest=tuple((str(row[0]), float(row[1])) for row in rows(_SOONEST, soonest=soonest)),
            refreshed_last_minute=int(recent[0]),
            failed_last_minute=int(recent[1]),
            latency_ms=recent[2],
            planned_at=planned[0][0] if planned else None,
        )


def without_token(engine: Engine) -> list[tuple[str, str, int]]:
    """Count the accounts that have no good token: (status, reason, accounts), most first.

    Those that a person has disabled are left out, and those that were added and not tried yet. Two walks, each along an
    index of few rows: accounts that are told to be in trouble, and tokens that ended of accounts that are not.
    """
    now = now_sql(engine)
    with reading(engine) as connection:
        rows = connection.execute(
            text(
                f"""
                SELECT status, coalesce(reason, ''), count(*) FROM account
                WHERE status IN ('degraded', 'reauthorize', 'misconfigured')
                 AND (access_token_sealed IS NULL OR expires_at <= {now}) GROUP BY 1, 2
                """
            )
        ).all()
        # `||` keeps SQLite from the index of the status: nearly every account is active, and few tokens have ended.
        ended = connection.scalar(
            text(f"SELECT count(*) FROM account WHERE expires_at <= {now} AND status || '' = 'active'")
        )
    found = [(str(status), str(reason), int(accounts)) for status, reason, accounts in rows]
    if ended:
        found.append(("active", "", int(ended)))
    return sorted(found, key=lambda one: (-one[2], one[0], one[1]))


def overdue(engine: Engine) -> tuple[int, float]:
    """Count the accounts that are due for longer than a plan, a message and a call take, and not paused.

    Returns beside it for how long the oldest of them has been due, seconds.
    """
    now = now_sql(engine)
    with reading(engine) as connection:
        accounts, oldest_s = connection.execute(
            text(
                f"""
                SELECT count(*), {now} - min(next_refresh_at) FROM account
                WHERE next_refresh_at < {now} - :late AND plan_at IS NOT NULL
                """
            ),
            {"late": OVERDUE_AFTER_S},
        ).one()
    return int(accounts), float(oldest_s or 0.0)


_SEALED: Final = (
    "client_secret_sealed",
    "access_token_sealed",
    "refresh_token_sealed",
    "custom_fields_sealed",
    "kept_sealed",
)


@dataclass(frozen=True, slots=True)
class SealedSample:
    """Sealed values of some accounts, counted by the key that sealed them."""

    keys: dict[str, int]
    accounts: int
    #: There are more accounts than were looked at.
    partial: bool


def sealed_sample(engine: Engine, *, accounts: int = 2_000) -> SealedSample:
    """Count sealed values by key in a bounded number of accounts: the first ones by id, and those that are due next."""
    columns = f"id, {', '.join(_SEALED)}"
    walks = (
        f"SELECT {columns} FROM account WHERE id > '' ORDER BY id LIMIT :accounts",
        # Not refreshed for longest: an old key is found here first.
        f"SELECT {columns} FROM account WHERE plan_at > 0 ORDER BY plan_at LIMIT :accounts",
    )
    rows: dict[str, tuple[str | None, ...]] = {}
    partial = False
    with reading(engine) as connection:
        for walk in walks:
            found = connection.execute(text(walk), {"accounts": accounts}).all()
            rows |= {str(account): tuple(values) for account, *values in found}
            partial = len(found) == accounts
            if not partial:
                break
    keys = Counter(str(key_of(value)) for values in rows.values() for value in values if value is not None)
    return SealedSample(dict(sorted(keys.items())), len(rows), partial)
