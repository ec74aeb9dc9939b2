"""Fills a database with the accounts and attempts of a large fleet, in a few statements: for query plans and benchmarks."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine, text

from models.pause_scope import Scope
from models.tables.attempt import Trigger
from models.tables.audit import Actor
from worker.db.engine import database_now, is_sqlite, now_sql, writing
from worker.db.planning.pauses import Pauses

#: Attempts of two minutes: a fleet whose tokens live for an hour.
ATTEMPTS_SHARE: Final = 1 / 30
#: The provider that is paused.
PAUSED_PROVIDER: Final = "provider-7"

#: One account of number `n`, in SQL that both databases speak. {now} is the database's clock.
_ACCOUNTS: Final = """
INSERT INTO account (id, provider, client_id, client_secret_sealed, refresh_enabled, refresh_method,
 session_management, session_timeout_s, knobs, access_token_sealed, refresh_token_sealed, refresh_fp, token_type,
 issued_at, expires_at, extra, generation, published_generation, config_version, jitter, next_refresh_at,
 due_reason, plan_at, status, reason, status_at, failures, created_at, refresh_token_end_fixed)
SELECT 'acct-' || n, 'provider-' || (n % 40), 'client', {secret}, true, 'body', 'auto', 900, '{{}}',
 {secret} || {secret} || {secret}, {secret} || {secret}, 'fp-' || n, 'Bearer',
 {now} - 3300 + due, {now} + 300 + due, '{{}}', 5, 5, 1, 0.5, CASE WHEN kind = 2 THEN NULL ELSE {now} + due END,
 'before_expiry', CASE WHEN kind = 2 OR (n % 40 = 7 AND due < 0) THEN NULL ELSE {now} + due END,
 CASE kind WHEN 1 THEN 'degraded' WHEN 2 THEN 'reauthorize' WHEN 3 THEN 'misconfigured' ELSE 'active' END,
 CASE kind WHEN 1 THEN 'timed_out' WHEN 2 THEN 'invalid_grant' WHEN 3 THEN 'invalid_client' END, {now}, 0, {now}, false
FROM (SELECT n, n % 100 AS kind, {due} AS due FROM ({numbers}) AS numbers) AS made
"""
#: Seconds until an account is due: spread over an hour, one provider half an hour behind, one a minute.
SPREAD: Final = (
    "CASE WHEN n % 40 = 7 THEN n % 3600 - 1800 WHEN n % 40 = 9 THEN n % 3600 - 60 ELSE n % 3600 END"
)
#: ... with none that is due, or comes due for a while.
NOTHING_DUE: Final = "600 + n % 3000"
_ATTEMPTS: Final = """
INSERT INTO attempt (id, account_id, trigger, opened_at, closed_at, generation, config_version, outcome, reason,
 latency_ms, repeats)
SELECT 'attempt-' || n, 'acct-' || n, :trigger, {now} - n % {age_s}, {now}, 4, 1,
 CASE WHEN n % 50 = 0 THEN 'retry' ELSE 'refreshed' END, 'refreshed', 200, 1 FROM ({numbers}) AS numbers
"""
_SECRET: Final = "'v1.k1." + "x" * 120 + "'"


def fill(
    engine: Engine, accounts: int, *, due: str = SPREAD, attempts: int | None = None, attempts_s: int = 120
) -> None:
    """Fill an empty database: 40 providers, rows of a kilobyte, tokens of an hour, one account in thirty failing.

    Args:
        engine: the database.
        accounts: how many accounts.
        due: SQL of the seconds until account `n` is due.
        attempts: entries of their history; two minutes' worth of a fleet of that size where it is None.
        attempts_s: the age of the oldest of them, seconds.
    """
    now = now_sql(engine)
    with writing(engine) as connection:
        if not is_sqlite(engine):
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        numbers = _numbers(engine, accounts)
        connection.execute(text(_ACCOUNTS.format(now=now, secret=_SECRET, numbers=numbers, due=due)))
        history = _numbers(engine, int(accounts * ATTEMPTS_SHARE) if attempts is None else attempts)
        statement = text(_ATTEMPTS.format(now=now, numbers=history, age_s=attempts_s))
        connection.execute(statement, {"trigger": Trigger.PLANNED.value})


def pause_one_provider(engine: Engine) -> None:
    """Pause a provider, and set its accounts aside as plans of the last half hour would have."""
    Pauses(engine).pause(
        Scope.PROVIDER, [PAUSED_PROVIDER], for_s=None, reason="an outage", actor=Actor("mia", "desk-1")
    )
    aside = "UPDATE account SET plan_at = NULL WHERE provider = :name AND next_refresh_at < :soon"
    with writing(engine) as connection:
        soon = database_now(connection) + 600
        connection.execute(text(aside), {"name": PAUSED_PROVIDER, "soon": soon})


def analyze(engine: Engine) -> None:
    """Gather what PostgreSQL's autovacuum gathers by itself; in SQLite what nothing does."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if is_sqlite(engine):
            connection.execute(text("ANALYZE"))
        else:
            connection.execute(text("SET statement_timeout = 0"))
            connection.execute(text("VACUUM ANALYZE"))


def _numbers(engine: Engine, count: int) -> str:
    if is_sqlite(engine):
        return (
            "WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted "  # noqa: S608
            f"WHERE n < {count}) SELECT n FROM counted"
        )
    return f"SELECT n FROM generate_series(1, {count}) AS n"  # noqa: S608  (a number)
