"""What is noted beside a commit, because it is known and can wait for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from worker.db.bulk import execute

#: A planned account that was dropped is planned again after this long, and not when its message would end.
LOOK_AGAIN_S: Final = 2.0

#: What `published_generation` says where Redis has the token, and was not told what became of the account since.
STATE_UNPUBLISHED: Final = -2
#: The SQL that says so beside a new state. Where the token is not there, that goes on.
MARK_STATE_UNPUBLISHED: Final = (
    "published_generation = CASE WHEN account.published_generation >= account.generation "
    f"OR account.published_generation = {STATE_UNPUBLISHED} THEN {STATE_UNPUBLISHED} ELSE -1 END"
)

_PAIR: Final = {"id": "text", "generation": "bigint"}


@dataclass(frozen=True, slots=True)
class PublicationUpdates:
    """What is to be noted beside the next commit: what Redis has and lacks, and whom a plan has to see again."""

    published: Sequence[tuple[str, int]] = ()
    unpublished: Sequence[str] = ()
    #: Planned accounts, and the generation seen, that met a lease or a store that was away: not refreshed.
    dropped: Sequence[tuple[str, int]] = ()


#: Nothing to note.
NO_UPDATES: Final = PublicationUpdates()


def note(connection: Connection, updates: PublicationUpdates, *, now: str) -> None:
    """Write what a commit notes beside its own rows.

    Args:
        connection: an open transaction.
        updates: what is to be noted.
        now: the SQL of the database's clock.
    """
    execute(
        connection,
        _PAIR,
        """
        UPDATE account SET published_generation = r.generation
        FROM r WHERE account.id = r.id AND account.published_generation < r.generation
        """,
        _pairs(updates.published),
    )
    execute(
        connection,
        {"id": "text"},
        f"UPDATE account SET {MARK_STATE_UNPUBLISHED} FROM r WHERE account.id = r.id",
        [{"id": account} for account in updates.unpublished],
    )
    execute(
        connection,
        _PAIR,
        f"""
        UPDATE account SET plan_at = {now} + :after_s FROM r WHERE account.id = r.id
         AND account.generation = r.generation AND account.plan_at > {now} + :after_s
         AND coalesce(account.claim_until, account.next_refresh_at) <= {now}
        """,
        _pairs(updates.dropped),
        after_s=LOOK_AGAIN_S,
    )


def _pairs(accounts: Sequence[tuple[str, int]]) -> list[dict[str, object]]:
    return [{"id": account, "generation": generation} for account, generation in accounts]
