"""A database that lost commits: a replica that lagged was promoted, or a backup took its place.

Redis keeps each rotated answer for some minutes after its commit (`worker/redis/pending_answers.py`). Where the row is
older than what Redis has seen, that answer is the only one whose refresh token is not spent: it stays until a refresh
adopts it, and the account is due now. PostgreSQL begins a new timeline with each promotion and each point-in-time
recovery, so that the fleet notices both by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from msgspec import Struct
from redis import Redis
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from refreshd_reader.contract import Keys
from worker.db.bulk import execute
from worker.db.engine import is_sqlite, now_sql, reading, writing
from worker.db.fleet_locks import FleetLock
from worker.log import log

#: The lock of the search; its note is the lineage that was searched, and how many rows were behind.
LOCK: Final = "lineage"
#: A pass over the names of a million accounts takes half a minute on a busy Redis.
LOCK_S: Final = 120.0
BATCH: Final = 1_000
#: Doctor compares so many accounts: those that are due first, where rows that lost commits stand.
SAMPLE: Final = 1_000
#: ... of those that are due within so long, seconds.
DUE_WITHIN_S: Final = 86_400.0

_BEHIND: Final = """
UPDATE account SET
 next_refresh_at = CASE WHEN account.next_refresh_at > {now} THEN {now} ELSE account.next_refresh_at END,
 plan_at = CASE WHEN account.plan_at > {now} THEN {now} ELSE account.plan_at END
FROM r WHERE account.id = r.id AND account.generation < r.seen RETURNING account.id
"""


class Behind(Struct, frozen=True):
    """Rows that are older than what Redis has seen, among those compared."""

    compared: int
    #: Account -> its generation in the database, and in Redis.
    rows: dict[str, tuple[int, int]]
    #: How many of them Redis keeps the answer of.
    answers: int


def lineage(engine: Engine) -> str | None:
    """Return which history the database is of; None where it has no name for it (SQLite, some managed offers).

    Raises:
        DatabaseUnreachable: the database is away.
    """
    if is_sqlite(engine):
        return None
    try:
        with reading(engine) as connection:
            found = connection.execute(
                text(
                    "SELECT system_identifier || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) "
                    "FROM pg_control_system()"
                )
            ).scalar_one()
    except DBAPIError as error:
        log.info("lineage_unknown", error=str(error.orig))
        return None
    return str(found)


def searched(engine: Engine) -> tuple[str | None, int, float | None]:
    """Return the lineage that was searched last, how many rows were behind, and when that was.

    Raises:
        DatabaseUnreachable: the database is away.
    """
    with reading(engine) as connection:
        row = connection.execute(
            text("SELECT note, finished_at FROM duty WHERE name = :name"), {"name": LOCK}
        ).first()
    if row is None or row[0] is None:
        return None, 0, None
    name, _, number = str(row[0]).partition(" ")
    return name, int(number or 0), row[1]


def keep_after_promotion(engine: Engine, redis: Redis, keys: Keys, *, holder: str) -> int:
    """Keep the answers of lost commits, where the database's history is another one than at the last look.

    Raises:
        RedisError: Redis is away.
        DatabaseUnreachable: the database is.
    """
    now, before = lineage(engine), searched(engine)[0]
    if now is None or now == before:
        return 0
    with FleetLock(engine, LOCK, holder=holder, ttl_s=LOCK_S).hold() as held:
        if held is None:
            return 0
        kept = keep_lost_answers(engine, redis, keys)
        held.note = f"{now} {kept}"
    if before is not None:
        log.error("database_history_changed", before=before, now=now, accounts_behind_redis=kept)
    return kept


def keep_lost_answers(engine: Engine, redis: Redis, keys: Keys) -> int:
    """Keep each answer whose row is older than what Redis has seen, and have the account planned now.

    Safe to run again. Returns how many there are.

    Raises:
        RedisError: Redis is away.
        DatabaseUnreachable: the database is.
    """
    total, now = 0, now_sql(engine)
    client: Any = redis
    names = _answers(redis, keys)
    while batch := list(islice(names, BATCH)):
        seen = _generations(client, keys, batch)
        with writing(engine) as connection:
            rows = execute(
                connection,
                {"id": "text", "seen": "bigint"},
                _BEHIND.format(now=now),
                [{"id": account, "seen": generation} for account, generation in sorted(seen.items())],
            )
        pipeline = client.pipeline(transaction=False)
        for (account,) in rows:
            pipeline.persist(keys.answer(account))
        pipeline.execute()
        total += len(rows)
    return total


def compare(engine: Engine, redis: Redis, keys: Keys) -> Behind:
    """Compare the accounts that are due first with what Redis has seen of them.

    Raises:
        RedisError: Redis is away.
        DatabaseUnreachable: the database is.
    """
    client: Any = redis
    with reading(engine) as connection:
        found = connection.execute(
            text(
                f"SELECT id, generation FROM account WHERE plan_at <= {now_sql(engine)} + :ahead "
                "ORDER BY plan_at, expires_at LIMIT :most"
            ),
            {"most": SAMPLE, "ahead": DUE_WITHIN_S},
        )
        rows = {str(row[0]): int(row[1]) for row in found}
    seen = _generations(client, keys, list(rows))
    behind = {i: (rows[i], generation) for i, generation in seen.items() if generation > rows[i]}
    pipeline = client.pipeline(transaction=False)
    for account in behind:
        pipeline.exists(keys.answer(account))
    return Behind(len(rows), behind, sum(map(bool, pipeline.execute())))


def _answers(redis: Redis, keys: Keys) -> Iterator[str]:
    """Yield the accounts of which an answer is kept: a pass over every name in Redis."""
    start = keys.answer("").removesuffix("{}")
    pattern = re.sub(r"([*?\[\]\\])", r"\\\1", start) + "*"
    for name in redis.scan_iter(match=pattern, count=BATCH):
        yield str(name).removeprefix(start).strip("{}")


def _generations(client: Any, keys: Keys, accounts: list[str]) -> dict[str, int]:
    pipeline = client.pipeline(transaction=False)
    for account in accounts:
        pipeline.hget(keys.account(account), "generation")
    replies = zip(accounts, pipeline.execute(), strict=True)
    return {account: int(seen) for account, seen in replies if seen is not None and str(seen).isdigit()}
