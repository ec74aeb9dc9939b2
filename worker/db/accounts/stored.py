"""The SQL of accounts as people handle them: many rows in one transaction, and never over a newer generation.

What is written was computed from a row that was read before. Each statement therefore names the generation and
the config version that were seen; a row that has moved on is left alone, and whoever asked begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from sqlalchemy import Connection, Engine, text

from models.account_state import Status
from models.event import Event
from worker.db.accounts import labels
from worker.db.accounts.columns import DEFAULTS, TYPES
from worker.db.accounts.filter import EVERY_ACCOUNT, Filter
from worker.db.accounts.new import insert
from worker.db.accounts.rows import WHOLE, account_with, find_accounts, whole_account
from worker.db.bulk import among_sql, columns_of, execute, execute_by_driver, many
from worker.db.engine import is_sqlite, now_sql, reading, writing
from worker.db.pipelined import Statement, execute_together, pipelined
from worker.db.refused_values import refusing_values
from worker.errors import DatabaseUnreachable

if TYPE_CHECKING:  # tables bring the ORM, which reading and storing accounts by id has no use for
    from models.tables.account import Account

#: Rows that are read at once when all are asked for.
PAGE: Final = 1_000
#: Two commands, or a command and a worker, that wait for each other: PostgreSQL ends one, which then goes second.
_DEADLOCK: Final = "40P01"
_DEADLOCK_TRIES: Final = 5

#: What workers write while a command runs: claims, and the marks of what Redis has.
_WORKERS_OWN: Final = frozenset({"claim_attempt", "claim_until", "published_generation", "kept_sealed"})
_WRITTEN: Final[dict[str, str]] = {
    name: kind
    for name, kind in TYPES.items()
    if name not in _WORKERS_OWN and name not in {"id", "created_at"}
}
_SEEN: Final = {"seen_generation": "bigint", "seen_config": "bigint"}


_FIND_POSTGRES: Final = f"SELECT {WHOLE} FROM account WHERE id = ANY(%(ids)s)"
_RETIRED_POSTGRES: Final = "SELECT id, generation FROM retired_account WHERE id = ANY(%(ids)s)"
_NO_LONGER_RETIRED: Final = "DELETE FROM retired_account WHERE id IN (SELECT id FROM r)"

#: Writes, in an open transaction, who stored or removed these ids.
Note = Callable[[Connection, set[str]], None]
#: Gives, in an open transaction before anything is stored, the ids that must not be.
Guard = Callable[[Connection], set[str]]


class Change(Struct, frozen=True):
    """An account as it shall be, and the generation and config version that this was computed from."""

    account: Account
    seen_generation: int
    seen_config: int
    #: What is told of it, if it is stored.
    event: Event | None = None
    #: Only the labels are new: what workers write beside them stays.
    labels_only: bool = False


class Accounts:
    """The table of accounts. `told`: types of events that go to the outbox, in the commit of what they tell of."""

    def __init__(self, engine: Engine, told: Collection[str] = ()) -> None:
        self._engine = engine
        self._told = told

    def find(self, ids: Sequence[str]) -> dict[str, Account]:
        """Read accounts by id."""
        return find_accounts(self._engine, ids)

    def retired(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the generation from which accounts that were removed go on, if they are added again."""
        sql = f"SELECT id, generation FROM retired_account WHERE {among_sql(self._engine, 'id', 'ids')}"
        with reading(self._engine) as connection:
            found = connection.execute(text(sql), {"ids": many(self._engine, ids)}).all()
        return {str(row[0]): int(row[1]) for row in found}

    def find_or_retired(self, ids: Sequence[str]) -> tuple[dict[str, Account], dict[str, int]]:
        """Return what `find` and, of the accounts that are not there, `retired` return: on PostgreSQL in one round trip."""
        if is_sqlite(self._engine):
            found = self.find(ids)
            return found, self.retired([one for one in ids if one not in found])
        parameters = {"ids": list(ids)}
        with reading(self._engine) as connection, pipelined(connection) as pipeline:
            there = pipeline.send(_FIND_POSTGRES, parameters)
            removed = pipeline.send(_RETIRED_POSTGRES, parameters)
        accounts = {one.id: one for one in map(whole_account, there.fetchall())}
        return accounts, {str(row[0]): int(row[1]) for row in removed.fetchall() if row[0] not in accounts}

    def once_held(self, tokens: Sequence[tuple[str, str]]) -> set[str]:
        """Tell of which accounts an attempt has sent or received this refresh token: (id, fingerprint) pairs."""
        if not tokens:
            return set()
        with reading(self._engine) as connection:
            found = execute(
                connection,
                {"id": "text", "fp": "text"},
                """
                SELECT DISTINCT r.id FROM r JOIN attempt ON attempt.account_id = r.id
                WHERE attempt.refresh_fp = r.fp OR attempt.received_fp = r.fp
                """,
                [{"id": account_id, "fp": fp} for account_id, fp in tokens],
            )
        return {str(row[0]) for row in found}

    def save(
        self,
        added: Sequence[Account],
        changed: Sequence[Change] = (),
        note: Note | None = None,
        guard: Guard | None = None,
    ) -> set[str]:
        """Store new accounts and changes, in one commit; returns the ids that were stored.

        An id that is taken by now, or a row that has moved on, is not among them. `note` writes beside them, in the same
        commit, who stored what; what `guard` names is left out.

        Raises:
            ValueRefused: the database can't store a value of one of them, and stores none.
        """
        for tries_left in reversed(range(_DEADLOCK_TRIES)):
            try:
                return self._save(added, changed, note, guard)
            except DatabaseUnreachable as error:
                if not tries_left or not _is_deadlock(error):
                    raise
        raise AssertionError("unreachable")

    def note_source(self, changed: Sequence[Change]) -> None:
        """Note of which file the stored tokens are; nothing else of the accounts changes."""
        if not changed:
            return
        with writing(self._engine) as connection:
            execute(
                connection,
                {"id": "text", "source_fp": "text"} | _SEEN,
                """
                UPDATE account SET source_fp = r.source_fp
                FROM r WHERE account.id = r.id AND account.generation = r.seen_generation
                """,
                [_change_row(one, ("id", "source_fp")) for one in changed],
            )

    def claim(self, account: Account, claim: str, *, claim_s: float) -> bool:
        """Keep workers off an account as it was read, as an attempt does; False: an attempt is open, or it moved on."""
        now = now_sql(self._engine)
        with writing(self._engine) as connection:
            taken = connection.execute(
                text(
                    f"UPDATE account SET claim_attempt = :claim, claim_until = {now} + :claim_s "
                    "WHERE id = :id AND generation = :generation AND config_version = :config_version "
                    f"AND (claim_attempt IS NULL OR claim_until <= {now})"
                ),
                {
                    "claim": claim,
                    "claim_s": claim_s,
                    "id": account.id,
                    "generation": account.generation,
                    "config_version": account.config_version,
                },
            )
        return taken.rowcount == 1

    def unclaim(self, account_id: str, claim: str) -> None:
        """Let go of an account that this claim still holds."""
        with writing(self._engine) as connection:
            connection.execute(
                text(
                    "UPDATE account SET claim_attempt = NULL, claim_until = NULL "
                    "WHERE id = :id AND claim_attempt = :claim"
                ),
                {"id": account_id, "claim": claim},
            )

    def remove(self, ids: Sequence[str], note: Note | None = None) -> dict[str, int]:
        """Remove accounts, their pauses and Connect sessions; returns, for each that was there, the generation remembered of it.

        What is remembered is one on from the last: the answer of a call that is still under way follows a generation
        that no account of this id has any more. Their history stays. `note` writes in the same commit who removed them.
        """
        from worker.db.accounts.open_consents import end_of_accounts  # brings the ORM

        with writing(self._engine) as connection:
            rows = [{"id": account_id} for account_id in sorted(ids)]
            gone = execute(
                connection,
                {"id": "text"},
                "DELETE FROM account WHERE id IN (SELECT id FROM r) RETURNING id, generation",
                rows,
            )
            labels.forget(connection, ids)
            # As it was deleted: read before, it could be one behind what a worker stores meanwhile.
            removed = {str(row[0]): int(row[1]) + 1 for row in gone}
            execute(
                connection,
                {"id": "text", "generation": "bigint"},
                """
                INSERT INTO retired_account (id, generation) SELECT r.id, r.generation FROM r WHERE true
                ON CONFLICT (id) DO UPDATE SET generation = excluded.generation
                """,
                [{"id": account_id, "generation": goes_on_at} for account_id, goes_on_at in removed.items()],
            )
            execute(
                connection,
                {"id": "text"},
                "DELETE FROM pause WHERE scope = 'account' AND name IN (SELECT id FROM r)",
                rows,
            )
            end_of_accounts(connection, sorted(removed))
            if note is not None and removed:
                note(connection, set(removed))
        return removed

    def count(self, wanted: Filter = EVERY_ACCOUNT) -> int:
        from worker.db.accounts.conditions import count

        return count(self._engine, wanted)

    def all(self, wanted: Filter = EVERY_ACCOUNT, *, limit: int | None = None) -> Iterator[Account]:
        """Return accounts in the order of their ids, read page by page."""
        after, left = "", limit
        while left is None or left > 0:
            page = self.page(wanted, after, PAGE if left is None else min(PAGE, left))
            yield from page
            if len(page) < PAGE:
                return
            after, left = page[-1].id, None if left is None else left - len(page)

    def page(self, wanted: Filter, after: str, size: int) -> list[Account]:
        """Return the accounts that follow an id, in the order of their ids."""
        from worker.db.accounts.conditions import page  # brings the ORM

        return page(self._engine, wanted, after, size)

    def _save(
        self, added: Sequence[Account], changed: Sequence[Change], note: Note | None, guard: Guard | None
    ) -> set[str]:
        with refusing_values(), writing(self._engine) as connection:
            return self.write(connection, added, changed, note, guard)

    def write(
        self,
        connection: Connection,
        added: Sequence[Account],
        changed: Sequence[Change],
        note: Note | None = None,
        guard: Guard | None = None,
    ) -> set[str]:
        """Store as `save` does, in a transaction that is open already and has waited for its turn."""
        given = {name: f"r.{name}" for name in _WRITTEN}
        # One that a pause had set aside is looked at by the next plan: the pause may be of a label that it had.
        given["plan_at"] = "coalesce(r.plan_at, r.next_refresh_at)"
        sets = ", ".join(f"{name} = {value}" for name, value in given.items())
        refused = guard(connection) if guard is not None else set()
        added = [one for one in added if one.id not in refused]
        changed = [one for one in changed if one.account.id not in refused]
        stored = insert(connection, sorted(added, key=_id))
        new = [{"id": row[0]} for row in stored]
        stored += execute_by_driver(
            connection,
            {"id": "text"} | _SEEN | _WRITTEN,
            f"""
            UPDATE account SET {sets}, published_generation = -1,
             kept_sealed = CASE WHEN coalesce(account.refresh_fp, '') = coalesce(r.refresh_fp, '') THEN account.kept_sealed END
            FROM r WHERE account.id = r.id AND account.generation = r.seen_generation
             AND account.config_version = r.seen_config
            RETURNING account.id
            """,
            [
                _change_row(one, ("id", *_WRITTEN))
                for one in sorted(changed, key=lambda one: one.account.id)
                if not one.labels_only
            ],
        )
        stored += labels.change(connection, [one.account for one in changed if one.labels_only])
        ids = {str(row[0]) for row in stored}
        written = (*added, *(one.account for one in changed))
        execute_together(
            connection,
            [
                Statement({"id": "text"}, _NO_LONGER_RETIRED, new),
                *labels.written([one for one in written if one.id in ids]),
            ],
        )
        if note is not None and ids:
            note(connection, ids)
        events = [c.event for c in changed if c.event is not None and c.account.id in ids]
        if told := [event for event in events if event.type in self._told]:
            from worker.db.outbox import put  # brings the tables of webhooks

            put(connection, told)
        return ids


def blank(account_id: str, **columns: str | float) -> Account:
    """Return a new account, every column that is not named at its default.

    It is a plain object: SQLModel's constructor takes 90 us, and an import would read each attribute by a call of SQLAlchemy's.
    """
    return account_with(DEFAULTS, id=account_id, **columns)


def _change_row(change: Change, names: Iterable[str]) -> dict[str, Any]:
    return {
        **_fields(change.account, names),
        "seen_generation": change.seen_generation,
        "seen_config": change.seen_config,
    }


def _fields(account: Account, names: Iterable[str]) -> dict[str, Any]:
    # Not by attribute: each would be a call of SQLAlchemy's, and a row has some forty.
    return columns_of(account, names)


def _id(account: Account) -> str:
    return account.id


def _is_deadlock(error: DatabaseUnreachable) -> bool:
    cause = getattr(error.__cause__, "orig", None)
    return getattr(cause, "sqlstate", None) == _DEADLOCK


def uses_callbacks(engine: Engine) -> bool:
    """Return whether any account is refreshed by a callback."""
    with reading(engine) as connection:
        found = connection.execute(
            text("SELECT 1 FROM account WHERE refresh_method = 'callback' LIMIT 1")
        ).first()
    return found is not None


def knows_provider(engine: Engine, name: str) -> bool:
    """Return whether any account is of a provider: a look at an index for each status."""
    statuses = ", ".join(f"'{status.value}'" for status in Status)
    with reading(engine) as connection:
        found = connection.execute(
            text(f"SELECT 1 FROM account WHERE status IN ({statuses}) AND provider = :name LIMIT 1"),
            {"name": name},
        ).first()
    return found is not None
