"""The SQL of the fleet's numbers: one statement and one meaning for each, for `status`, `doctor` and the exporter alike.

Indexes answer every statement; docs/monitoring.md has what a million accounts cost. An account is overdue when it has
been due for `OVERDUE_AFTER_S` and no pause holds it. While everything is paused, nothing is overdue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from msgspec import Struct, field
from sqlalchemy import Connection, Engine, text

from models.pause_scope import Scope
from worker.db.engine import database_now, reading

#: A due account is overdue after this long: a plan, a message and a call have had their time.
OVERDUE_AFTER_S: Final = 10.0
#: Tokens are counted that end within so many seconds from now.
EXPIRE_WITHIN_S: Final = (60, 300, 900, 3600, 21_600, 86_400)
#: Refresh tokens with a hard end, announced days before.
REFRESH_TOKENS_EXPIRE_WITHIN_S: Final = (86_400, 7 * 86_400, 30 * 86_400)
#: The largest groups of failing accounts, for Prometheus and for a screen.
FAILING_EXPORTED_MAX: Final = 200
FAILING_SHOWN_MAX: Final = 20
#: Providers that are named as behind.
BEHIND_MAX: Final = 5
PLAN: Final = "plan"

#: Values of the columns in front (provider, status ...) -> accounts.
Counts: TypeAlias = Mapping[tuple[str, ...], int]


class Overdue(Struct, frozen=True):
    """Accounts of one provider that are behind, and since when the first of them (epoch seconds)."""

    accounts: int
    since: float


class PausedDue(Struct, frozen=True):
    """Accounts of one provider that are due and that a pause holds."""

    accounts: int
    #: Of these, whose token has ended.
    ended: int


class Webhooks(Struct, frozen=True):
    """Webhooks that have not arrived."""

    waiting: int
    #: Age of the oldest of them, seconds.
    oldest_s: float
    #: Given up until `refreshd webhooks retry`.
    dead_lettered: int


class FleetCounts(Struct, frozen=True, kw_only=True):
    """What every view of the fleet shows. Times are epoch seconds of the database's clock."""

    now: float
    #: (provider, status) -> accounts.
    by_status: Counts
    #: (provider, status, reason) -> accounts that are degraded, to be re-authorized or misconfigured, largest first.
    failing: Counts
    #: Provider -> accounts that are overdue, most first.
    late: Mapping[str, Overdue]
    #: Provider -> accounts that a pause of an account, label or provider has set aside, most first.
    set_aside: Mapping[str, PausedDue]
    #: Due accounts that a pause of everything holds; 0 without one.
    held_by_all: int = 0
    #: Scope (`all`, `provider`, `label`, `account`) -> pauses in force.
    pauses: Counts
    #: Periodic task (`plan`, `reconcile` ...) -> when it last ended; None: never.
    job_ended_at: Mapping[str, float | None]

    @property
    def accounts(self) -> int:
        return sum(self.by_status.values())

    @property
    def overdue(self) -> int:
        return sum(one.accounts for one in self.late.values())

    @property
    def oldest_due_at(self) -> float | None:
        return min((one.since for one in self.late.values()), default=None)

    @property
    def planned_at(self) -> float | None:
        return self.job_ended_at.get(PLAN)


class Fleet(FleetCounts, frozen=True, kw_only=True):
    """The counts, and what a screen shows beside them."""

    #: Accounts whose token has ended and that would be refreshed; counted while everything is paused, else None.
    ended: int | None
    #: (account, end of its token) of the tokens that end first.
    soonest: tuple[tuple[str, float], ...]
    refreshed_last_minute: int
    failed_last_minute: int
    latency_ms: float | None

    @property
    def behind(self) -> tuple[tuple[str, int], ...]:
        """Return the providers with most overdue accounts, most first."""
        return tuple((name, one.accounts) for name, one in list(self.late.items())[:BEHIND_MAX])


class ExportedCounts(FleetCounts, frozen=True, kw_only=True):
    """The counts, and what Prometheus gets beside them."""

    #: Provider -> planned, active accounts whose token has ended.
    expired: Counts
    #: Seconds -> tokens that end within them.
    expiring: Counts
    #: Seconds -> refresh tokens that end for good within them.
    refresh_tokens_expiring: Counts
    #: Accounts whose latest token Redis lacks.
    unpublished: int
    #: Callback -> accounts that it refreshes.
    callbacks: Counts
    webhooks: Webhooks
    #: Gate -> accounts that it holds.
    held: Counts = field(default_factory=dict)


#: Statements whose last column is a count, keyed by the columns before it.
_BY_STATUS: Final = "SELECT provider, status, count(*) FROM account GROUP BY status, provider"
_FAILING: Final = """
SELECT provider, status, coalesce(reason, ''), count(*) FROM account
WHERE status IN ('degraded', 'reauthorize', 'misconfigured')
GROUP BY status, provider, reason ORDER BY 4 DESC, 1, 2, 3 LIMIT :most
"""
_PAUSES: Final = """
SELECT scope, count(*) FROM pause WHERE NOT resumed AND (until IS NULL OR until > :now) GROUP BY scope UNION ALL
SELECT 'label', count(*) FROM label_pause WHERE NOT resumed AND (until IS NULL OR until > :now) HAVING count(*) > 0
"""
# `||` keeps SQLite from the index of the status: nearly every account is active, and few tokens have ended.
_EXPIRED: Final = """
SELECT provider, count(*) FROM account
WHERE expires_at <= :now AND status || '' = 'active' AND plan_at IS NOT NULL GROUP BY provider
"""
_CALLBACKS: Final = """
SELECT callback, count(*) FROM account
WHERE refresh_method = 'callback' AND callback IS NOT NULL GROUP BY callback
"""
_HELD: Final = "SELECT held_by, count(*) FROM account WHERE held_by IS NOT NULL GROUP BY held_by"
#: Statements of one number.
_UNPUBLISHED: Final = "SELECT count(*) FROM account WHERE published_generation < generation"
_DEAD_LETTERED: Final = "SELECT count(*) FROM webhook WHERE failed_at IS NOT NULL"
_ENDED: Final = "SELECT count(*) FROM account WHERE expires_at <= :now AND next_refresh_at IS NOT NULL"
_BETWEEN: Final = (
    "SELECT count(*) FROM account WHERE {column} > :now + :start_s AND {column} <= :now + :end_s AND {where}"
)
#: Statements of several numbers.
_DUE: Final = """
SELECT provider, count(*), min(next_refresh_at) FROM account WHERE next_refresh_at < :now - :late GROUP BY provider
"""
_FIRST_DUE: Final = """
SELECT next_refresh_at FROM account WHERE next_refresh_at < :now - :late AND provider = :provider
 AND plan_at IS NOT NULL ORDER BY next_refresh_at LIMIT 1
"""
_SET_ASIDE: Final = """
SELECT provider, count(*), sum(CASE WHEN expires_at <= :now THEN 1 ELSE 0 END),
 sum(CASE WHEN next_refresh_at < :now - :late THEN 1 ELSE 0 END)
FROM account WHERE plan_at IS NULL AND next_refresh_at IS NOT NULL GROUP BY provider ORDER BY 2 DESC
"""
_RECENT: Final = """
SELECT coalesce(sum(CASE WHEN outcome = 'refreshed' THEN 1 ELSE 0 END), 0),
 coalesce(sum(CASE WHEN outcome IN ('retry', 'rate_limited', 'reauthorize', 'misconfigured') THEN 1 ELSE 0 END), 0),
 avg(CASE WHEN outcome = 'refreshed' THEN latency_ms END)
FROM attempt WHERE opened_at >= :now - 60
"""
_SOONEST: Final = (
    "SELECT id, expires_at FROM account WHERE expires_at > :now ORDER BY expires_at LIMIT :soonest"
)
_WAITING: Final = "SELECT count(*), :now - min(created_at) FROM webhook WHERE next_at IS NOT NULL"
_WITHOUT_TOKEN: Final = """
SELECT status, coalesce(reason, ''), count(*) FROM account
WHERE status IN ('degraded', 'reauthorize', 'misconfigured')
 AND (access_token_sealed IS NULL OR expires_at <= :now) GROUP BY 1, 2
"""
_ENDED_WHILE_ACTIVE: Final = (
    "SELECT count(*) FROM account WHERE expires_at <= :now AND status || '' = 'active'"
)


class _Query:
    """Statements of one transaction, all with one `:now`: as a function, SQLite would compute it for every row."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.now = database_now(connection)

    def rows(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        parameters |= {"now": self.now, "late": OVERDUE_AFTER_S}
        names = {name: value for name, value in parameters.items() if f":{name}" in sql}
        return [tuple(row) for row in self._connection.execute(text(sql), names)]

    def counts(self, sql: str, **parameters: object) -> Counts:
        return {tuple(map(str, key)): int(number) for *key, number in self.rows(sql, **parameters)}

    def number(self, sql: str, **parameters: object) -> int:
        return int(self.rows(sql, **parameters)[0][0])

    def within(self, column: str, horizons_s: tuple[int, ...], where: str = "true") -> Counts:
        """Count range by range, each in the index alone; the longer horizons contain the shorter ones."""
        counts: dict[tuple[str, ...], int] = {}
        total, start_s = 0, 0
        for end_s in horizons_s:
            total += self.number(_BETWEEN.format(column=column, where=where), start_s=start_s, end_s=end_s)
            start_s = end_s
            counts[str(end_s),] = total
        return counts


def count(engine: Engine) -> ExportedCounts:
    """Return the numbers that Prometheus gets.

    Raises:
        DatabaseUnreachable: the database does not answer.
    """
    with reading(engine) as connection:
        query = _Query(connection)
        waiting, oldest_s = query.rows(_WAITING)[0]
        return ExportedCounts(
            **_common(query, failing_max=FAILING_EXPORTED_MAX),
            expired=query.counts(_EXPIRED),
            expiring=query.within("expires_at", EXPIRE_WITHIN_S),
            refresh_tokens_expiring=query.within(
                "refresh_token_expires_at",
                REFRESH_TOKENS_EXPIRE_WITHIN_S,
                "refresh_token_end_fixed AND status NOT IN ('disabled', 'reauthorize')",
            ),
            unpublished=query.number(_UNPUBLISHED),
            callbacks=query.counts(_CALLBACKS),
            webhooks=Webhooks(int(waiting), float(oldest_s or 0), query.number(_DEAD_LETTERED)),
            held=query.counts(_HELD),
        )


def look(engine: Engine, *, soonest: int = 5) -> Fleet:
    """Return the numbers that a screen shows.

    Args:
        engine: the database.
        soonest: how many of the tokens that end first are named.

    Raises:
        DatabaseUnreachable: the database does not answer.
    """
    with reading(engine) as connection:
        query = _Query(connection)
        common = _common(query, failing_max=FAILING_SHOWN_MAX)
        refreshed, failed, latency_ms = query.rows(_RECENT)[0]
        return Fleet(
            **common,
            ended=query.number(_ENDED) if _everything_paused(common["pauses"]) else None,
            soonest=tuple((str(name), float(at)) for name, at in query.rows(_SOONEST, soonest=soonest)),
            refreshed_last_minute=int(refreshed),
            failed_last_minute=int(failed),
            latency_ms=latency_ms,
        )


def overdue(engine: Engine) -> tuple[int, float]:
    """Return how many accounts are overdue, and for how long the first of them has been due, seconds."""
    with reading(engine) as connection:
        query = _Query(connection)
        late = {} if _everything_paused(query.counts(_PAUSES)) else _late(query, query.rows(_SET_ASIDE))
    since = min((one.since for one in late.values()), default=query.now)
    return sum(one.accounts for one in late.values()), query.now - since


def without_token(engine: Engine) -> list[tuple[str, str, int]]:
    """Return how many accounts have no good token, paused ones included: (status, reason, accounts), most first.

    Disabled accounts are left out, and accounts that were added and not tried yet. Two walks, each along an index of few
    rows: failing accounts, and tokens of active accounts that have ended.
    """
    with reading(engine) as connection:
        query = _Query(connection)
        rows, ended = query.rows(_WITHOUT_TOKEN), query.number(_ENDED_WHILE_ACTIVE)
    found = [(str(status), str(reason), int(accounts)) for status, reason, accounts in rows]
    if ended:
        found.append(("active", "", ended))
    return sorted(found, key=lambda one: (-one[2], one[0], one[1]))


def _common(query: _Query, *, failing_max: int) -> dict[str, Any]:
    """Return the fields of `FleetCounts`."""
    pauses, set_aside = query.counts(_PAUSES), query.rows(_SET_ASIDE)
    late = _late(query, set_aside)
    everything_paused = _everything_paused(pauses)
    return {
        "now": query.now,
        "by_status": query.counts(_BY_STATUS),
        "failing": query.counts(_FAILING, most=failing_max),
        "late": {} if everything_paused else late,
        "set_aside": {
            str(name): PausedDue(int(accounts), int(ended)) for name, accounts, ended, _ in set_aside
        },
        "held_by_all": sum(one.accounts for one in late.values()) if everything_paused else 0,
        "pauses": pauses,
        "job_ended_at": {str(name): at for name, at in query.rows("SELECT name, finished_at FROM duty")},
    }


def _late(query: _Query, set_aside: list[tuple[Any, ...]]) -> dict[str, Overdue]:
    """Return what is due for long by provider, most first: all of it in one index, less what pauses have set aside."""
    paused = {str(name): int(late) for name, _, _, late in set_aside}
    late: dict[str, Overdue] = {}
    for name, number, since in query.rows(_DUE):
        provider = str(name)
        accounts = int(number) - paused.get(provider, 0)
        if accounts <= 0:
            continue
        if provider in paused:  # the first of all may be one that is paused
            found = query.rows(_FIRST_DUE, provider=provider)
            late[provider] = Overdue(accounts, float(found[0][0] if found else since))
        else:
            late[provider] = Overdue(accounts, float(since))
    return dict(sorted(late.items(), key=lambda one: (-one[1].accounts, one[0])))


def _everything_paused(pauses: Counts) -> bool:
    return bool(pauses.get((Scope.ALL.value,)))
