"""After a database was restored from a backup: raise each generation above what Redis has seen.

The backup's rows are older than what lies in Redis, and some of its refresh tokens are spent. Raised, the next
refresh can publish again; what Redis holds meanwhile is newer and stays. Where an answer waits in the stash, the row
is raised to the generation that it follows and no further: the answer is adopted then, and no spent token is sent.
A row whose committed answer Redis keeps stays as it is: its next refresh adopts that (`worker/db/repair/lost_commits.py`).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from redis import Redis
from sqlalchemy import Connection, Engine

from refreshd_reader.contract import ACCOUNT_ID, Keys
from worker.db.bulk import execute
from worker.db.engine import writing
from worker.db.fleet_locks import FleetLock

BATCH: Final = 1_000
#: The lock whose note is the mark.
RECONCILE: Final = "reconcile"
#: A mark is written in no time; a command that was killed holds the lock no longer.
_LOCK_S: Final = 60.0


def raise_generations(engine: Engine, redis: Redis, keys: Keys) -> int:
    """Raise the generations that Redis is ahead of; returns how many there were.

    Raises:
        RedisError: Redis is away.
        DatabaseUnreachable: the database is.
    """
    raised = 0
    seen = _seen(redis, keys)
    while batch := list(islice(seen, BATCH)):
        with writing(engine) as connection:
            rows = execute(
                connection,
                {"id": "text", "seen": "bigint", "raised": "bigint"},
                """
                UPDATE account SET generation = r.raised, published_generation = r.raised
                FROM r WHERE account.id = r.id AND account.generation < r.seen RETURNING account.id
                """,
                [
                    {"id": account, "seen": generation, "raised": generation if waits else generation + 1}
                    for account, generation, waits, kept in sorted(batch)
                    if not kept
                ],
            )
            _retire_unknown(connection, [(account, generation) for account, generation, *_ in sorted(batch)])
        raised += len(rows)
    return raised


def raise_above(engine: Engine, refused: Sequence[tuple[str, int, int]]) -> dict[str, int]:
    """Raise rows that were just stored and that Redis refused; returns the generation of each that was raised.

    Not one that has moved on since, for then somebody was quicker, nor one with an attempt open.

    Args:
        engine: the database.
        refused: id, its generation, and the one that Redis has seen.

    Raises:
        DatabaseUnreachable: nothing was raised.
    """
    with writing(engine) as connection:
        rows = execute(
            connection,
            {"id": "text", "generation": "bigint", "seen": "bigint"},
            """
            UPDATE account SET generation = r.seen + 1, published_generation = r.seen + 1
            FROM r WHERE account.id = r.id AND account.generation = r.generation AND account.claim_attempt IS NULL
            RETURNING account.id, account.generation
            """,
            [{"id": account, "generation": old, "seen": seen} for account, old, seen in sorted(refused)],
        )
    return {str(row[0]): int(row[1]) for row in rows}


def _retire_unknown(connection: Connection, seen: list[tuple[str, int]]) -> None:
    """Remember ids that the backup lacks as removed ones: added again, they go on above what Redis has of them."""
    execute(
        connection,
        {"id": "text", "generation": "bigint"},
        """
        INSERT INTO retired_account (id, generation) SELECT r.id, r.generation FROM r
        WHERE NOT EXISTS (SELECT 1 FROM account WHERE account.id = r.id)
        ON CONFLICT (id) DO UPDATE SET generation = excluded.generation
        WHERE retired_account.generation < excluded.generation
        """,
        [
            {"id": account, "generation": generation + 1}
            for account, generation in seen
            if re.fullmatch(ACCOUNT_ID, account)
        ],
    )


def believe_filled(engine: Engine, redis: Redis, keys: Keys) -> None:
    """Have the database remember the mark that Redis carries, so that no refill puts the backup's tokens over it.

    Raises:
        RedisError: Redis is away.
        DatabaseUnreachable: the database is.
    """
    mark = str(redis.get(filled_mark(keys)) or secrets.token_hex(8))
    redis.set(filled_mark(keys), mark)
    with FleetLock(engine, RECONCILE, holder="db restored", ttl_s=_LOCK_S).hold() as held:
        if held is not None:
            held.note = mark


def filled_mark(keys: Keys) -> str:
    """Name the key that says from which filling Redis' content is."""
    return f"{keys.prefix}filled"


def _seen(redis: Redis, keys: Keys) -> Iterator[tuple[str, int, bool, bool]]:
    """Return each account that Redis knows, its generation there, whether an answer waits in its stash, or is kept."""
    start = keys.account("").removesuffix("{}")
    names: Iterator[str] = redis.scan_iter(match=f"{start}*", count=BATCH)
    while batch := list(islice(names, BATCH)):
        client: Any = redis
        pipeline = client.pipeline(transaction=False)
        ids = [name.removeprefix(start).strip("{}") for name in batch]
        for name, account in zip(batch, ids, strict=True):
            pipeline.hget(name, "generation")
            pipeline.exists(keys.stash(account))
            pipeline.exists(keys.answer(account))
        replies = iter(pipeline.execute())
        for account, generation, waits, kept in zip(ids, replies, replies, replies, strict=True):
            if generation is not None and str(generation).isdigit():
                yield account, int(generation), bool(waits), bool(kept)
