"""What Redis has and lacks of accounts: read by those who fill it, and noted beside commits that happen anyway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from sqlalchemy import Connection, Engine, text

from models.publication import PUBLISHED_COLUMNS
from worker.db.bulk import among, execute_by_driver
from worker.db.claims import NO_END
from worker.db.engine import reading, writing

if TYPE_CHECKING:  # tables bring the ORM, which noting what is published has no use for
    from models.tables.account import Account

#: A planned account that was dropped is planned again after this long, and not when its message would end.
LOOK_AGAIN_S: Final = 2.0

#: `published_generation` where Redis has the token, and lacks the account's state since.
STATE_UNPUBLISHED: Final = -2
#: The SQL that writes it beside a new state. Where Redis lacks the token, that stays so.
MARK_STATE_UNPUBLISHED: Final = (
    "published_generation = CASE WHEN account.published_generation >= account.generation "
    f"OR account.published_generation = {STATE_UNPUBLISHED} THEN {STATE_UNPUBLISHED} ELSE -1 END"
)

#: The SQL that finds the account, of those whose latest generation Redis lacks, that is needed first.
FIRST_UNPUBLISHED: Final = (
    "SELECT id FROM account WHERE published_generation < generation ORDER BY expires_at, id LIMIT 1"
)

_PAIR: Final = {"id": "text", "generation": "bigint"}


class PublicationUpdates(Struct, frozen=True):
    """What is noted beside the next commit: what Redis has and lacks, and accounts that a plan has to see again."""

    published: Sequence[tuple[str, int]] = ()
    unpublished: Sequence[str] = ()
    #: Planned accounts, and the generation seen, that met a lease or a store that was away: not refreshed.
    dropped: Sequence[tuple[str, int]] = ()
    #: Accounts of which a connector read an older token from Redis than SQL has.
    outdated: Sequence[str] = ()


#: Nothing to note.
NO_UPDATES: Final = PublicationUpdates()


def note(connection: Connection, updates: PublicationUpdates, *, now: str) -> None:
    """Write the updates beside a commit's own rows.

    Args:
        connection: an open transaction.
        updates: what is to be noted.
        now: the SQL of the database's clock.
    """
    execute_by_driver(
        connection,
        _PAIR,
        """
        UPDATE account SET published_generation = r.generation
        FROM r WHERE account.id = r.id AND account.published_generation < r.generation
        """,
        _pairs(updates.published),
    )
    execute_by_driver(
        connection,
        {"id": "text"},
        f"UPDATE account SET {MARK_STATE_UNPUBLISHED} FROM r WHERE account.id = r.id",
        [{"id": account} for account in updates.unpublished],
    )
    execute_by_driver(
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
    execute_by_driver(
        connection,
        {"id": "text"},
        "UPDATE account SET published_generation = -1 FROM r WHERE account.id = r.id",
        [{"id": account} for account in updates.outdated],
    )


def _pairs(accounts: Sequence[tuple[str, int]]) -> list[dict[str, object]]:
    return [{"id": account, "generation": generation} for account, generation in accounts]


class PublicationStore:
    """The SQL of what Redis has and lacks of accounts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def live_accounts(self, after: tuple[float, str] | None, limit: int) -> list[Account]:
        """Return what is published of accounts, in the order in which readers need them.

        Soonest to end first, no known end last; each has the columns of `PUBLISHED_COLUMNS`.

        Args:
            after: (end, id) of the last account given before, None to begin.
            limit: how many at most.
        """
        from sqlmodel import col, select

        from models.tables.account import Account
        from worker.db.accounts.plain import accounts_with, read_with

        end, last_id = after or (0.0, "")
        ends, name = col(Account.expires_at), col(Account.id)
        # Ids first: what the index leaves to be sorted, accounts of one end, is narrow then.
        ids = select(name).limit(limit)
        with reading(self._engine) as connection:
            order: list[str] = []
            # Two walks, each along an index: one over both kinds at once would sort all accounts for each batch.
            if end < NO_END:
                later = (ends > end) | ((ends == end) & (name > last_id))
                order = list(connection.scalars(ids.where(ends >= end, later).order_by(ends, name)))
            if not order:
                seen = last_id if end >= NO_END else ""
                order = list(connection.scalars(ids.where(ends.is_(None), name > seen).order_by(name)))
            statement = accounts_with(PUBLISHED_COLUMNS).where(among(self._engine, name, order))
            found = {account.id: account for account in read_with(PUBLISHED_COLUMNS, connection, statement)}
        return [found[account_id] for account_id in order]

    def unpublished(self, after: tuple[float, str] | None, limit: int) -> list[Account]:
        """Return what is published of accounts whose latest generation Redis lacks: the columns of `PUBLISHED_COLUMNS`.

        Soonest to end first, no known end last.

        Args:
            after: (end, id) of the last account given before, None to begin.
            limit: how many at most.
        """
        from sqlmodel import col

        from models.tables.account import Account
        from worker.db.accounts.plain import accounts_with, read_with

        end, last_id = after or (0.0, "")
        ends, name = col(Account.expires_at), col(Account.id)
        behind = accounts_with(PUBLISHED_COLUMNS).where(text("published_generation < generation"))
        found: list[Account] = []
        with reading(self._engine) as connection:
            # Two walks along the index: the databases disagree on where no end is sorted.
            if end < NO_END:
                later = (ends > end) | ((ends == end) & (name > last_id))
                walk = behind.where(ends >= end, later).order_by(ends, name).limit(limit)
                found = read_with(PUBLISHED_COLUMNS, connection, walk)
            if len(found) < limit:
                seen = last_id if end >= NO_END else ""
                walk = (
                    behind.where(ends.is_(None), name > seen).order_by(ends, name).limit(limit - len(found))
                )
                found += read_with(PUBLISHED_COLUMNS, connection, walk)
        return found

    def lacks(self, name: str) -> tuple[str | None, bool]:
        """Return what the last holder of a lock noted, and whether Redis lacks the latest generation of any account."""
        with reading(self._engine) as connection:
            row = connection.execute(
                text(f"SELECT (SELECT note FROM duty WHERE name = :name), ({FIRST_UNPUBLISHED}) IS NOT NULL"),
                {"name": name},
            ).one()
        return row[0], bool(row[1])

    def mark_published(self, published: Sequence[tuple[str, int]]) -> None:
        """Write which generations Redis has."""
        with writing(self._engine) as connection:
            execute_by_driver(
                connection,
                {"id": "text", "generation": "bigint"},
                """
                UPDATE account SET published_generation = r.generation
                FROM r WHERE account.id = r.id AND account.generation = r.generation
                """,
                [{"id": account_id, "generation": generation} for account_id, generation in published],
            )
