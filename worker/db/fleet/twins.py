"""The SQL of accounts that hold the same refresh token: found by its fingerprint, through an index, many at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, TextClause, text

from worker.db.accounts.rows import plain_account
from worker.db.bulk import among_sql, many
from worker.db.engine import is_sqlite, reading
from worker.db.pipelined import pipelined

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

#: Names the lock under which commands store refresh tokens, one commit after the other.
_LOCK: Final = 0x7265667265736866
#: The expression of PostgreSQL that waits for it; it ends with the transaction.
ONE_AFTER_THE_OTHER: Final = f"pg_advisory_xact_lock({_LOCK})"
#: Shared fingerprints that one query reads: more than a person looks at one by one.
_SHARED_MAX: Final = 200
#: Accounts that one query reads for them.
_HOLDERS_MAX: Final = 1_000

#: Columns that identify the grant of a refresh token.
_IDENTITY: Final = ("client_id", "provider", "token_url", "server_url", "refresh_method", "callback", "knobs")
_KNOWN: Final = ("id", "status", "refresh_fp", "source_fp", "labels", *_IDENTITY)
#: The stored token's fingerprint, and that of the token which the account was given last.
_FINGERPRINTS: Final = ("refresh_fp", "source_fp")


def holders(
    connection: Connection, fingerprints: Sequence[str], *, but: Sequence[str]
) -> Iterator[tuple[str, Account]]:
    """Yield the accounts that hold one of these refresh tokens, or were given it last, with its fingerprint.

    Of accounts that differ only in their id, one is read. They have the columns that identify a grant.

    Args:
        connection: an open transaction.
        fingerprints: of refresh tokens.
        but: ids of accounts to leave out.
    """
    engine = connection.engine
    rows = connection.execute(
        _holders(is_sqlite(engine)), {"fps": many(engine, fingerprints), "but": many(engine, but)}
    )
    for row in rows:
        yield holder_of(row)


def holders_in_turn(
    connection: Connection, fingerprints: Sequence[str], *, but: Sequence[str]
) -> list[tuple[str, Account]]:
    """Wait for every other transaction that stores refresh tokens, and return what `holders` yields then.

    SQLite has one writer at a time; on PostgreSQL the lock ends with the transaction, and both are one round trip.
    """
    if is_sqlite(connection.engine):
        return list(holders(connection, fingerprints, but=but))
    with pipelined(connection) as pipeline:
        pipeline.send(f"SELECT {ONE_AFTER_THE_OTHER}", {})
        held = pipeline.send(HOLDERS_POSTGRES, {"fps": list(fingerprints), "but": list(but)})
    return [holder_of(row) for row in held.fetchall()]


def holder_of(row: Sequence[Any]) -> tuple[str, Account]:
    """Return a row of `holders` as the fingerprint and its account."""
    from worker.db.accounts.stored import blank  # a guard's account: it has every column

    fp, account_id, *identity = row
    return str(fp), blank(account_id, **dict(zip(_IDENTITY, identity, strict=True)))


@cache
def _holders(on_sqlite: bool) -> TextClause:
    return text(
        _holders_sql("IN (SELECT value FROM json_each(:fps))", "NOT IN (SELECT value FROM json_each(:but))")
        if on_sqlite
        else _holders_sql("= ANY(:fps)", "<> ALL(:but)")
    )


def _holders_sql(fps: str, but: str) -> str:
    same = ", ".join(_IDENTITY)
    of = "SELECT {0} AS fp, min(id) AS id, {1} FROM account WHERE {0} {2} AND id {3} GROUP BY {0}, {1}"
    return " UNION ".join(of.format(column, same, fps, but) for column in _FINGERPRINTS)


#: The statement of `holders` for psycopg's own cursor.
HOLDERS_POSTGRES: Final = _holders_sql("= ANY(%(fps)s)", "<> ALL(%(but)s)")


def holding(engine: Engine, account: Account, *, limit: int) -> list[Account]:
    """Return the other accounts of the same client id that hold an account's refresh token, or were given it last."""
    mine = [one for one in (account.refresh_fp, account.source_fp) if one is not None]
    if account.refresh_fp is None:
        return []

    same = "IS" if is_sqlite(engine) else "IS NOT DISTINCT FROM"
    of_one = " UNION ".join(
        f"SELECT {', '.join(_KNOWN)} FROM account WHERE {among_sql(engine, column, 'mine')} AND id <> :id"
        f" AND client_id {same} CAST(:client_id AS text)"
        for column in _FINGERPRINTS
    )
    asked = {"mine": many(engine, mine), "id": account.id, "client_id": account.client_id, "limit": limit}
    with reading(engine) as connection:
        found = connection.execute(text(f"{of_one} ORDER BY id LIMIT :limit"), asked)
        return [plain_account(_KNOWN, row) for row in found.all()]


def shared(engine: Engine) -> dict[str, list[Account]]:
    """Return the accounts of each refresh token that several hold, or were given last: fingerprint -> accounts.

    Indexes alone find the fingerprints; accounts are read for the first of them.
    """
    found: dict[str, list[Account]] = {}
    with reading(engine) as connection:
        for column in _FINGERPRINTS:
            fingerprints = [str(row[0]) for row in connection.execute(text(shared_sql(column)))]
            if not fingerprints:
                continue
            sql = (
                f"SELECT {column} AS fp, {', '.join(_KNOWN)} FROM account WHERE {among_sql(engine, column, 'fps')}"
                " AND refresh_fp IS NOT NULL ORDER BY 1, id LIMIT :limit"
            )
            asked = {"fps": many(engine, fingerprints), "limit": _HOLDERS_MAX}
            rows = connection.execute(text(sql), asked).mappings()
            for row in rows:
                accounts = found.setdefault(row["fp"], [])
                if all(one.id != row["id"] for one in accounts):
                    accounts.append(plain_account(_KNOWN, [row[name] for name in _KNOWN]))
    return found


def shared_sql(column: str) -> str:
    """Return the statement that finds the fingerprints which several accounts have in this column."""
    return (
        f"SELECT {column} FROM account WHERE {column} IS NOT NULL "
        f"GROUP BY {column} HAVING count(*) > 1 LIMIT {_SHARED_MAX}"
    )
