"""The SQL of a new grant: many in one transaction, and no statement that reads a sealed column.

A process that takes grants in may have a role that can write what is sealed and not read it (`deploy/postgresql/roles.sql`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, TextClause, text

from models.account import Account
from models.audit import Act, Actor
from worker.db.audit import entry_of, record
from worker.db.bulk import SCHEDULE, STATE, TOKEN, execute, many
from worker.db.engine import is_sqlite, now_sql
from worker.db.fleet.twins import ONE_AFTER_THE_OTHER
from worker.db.plain_accounts import plain_account

#: Every column of an account that holds nothing sealed.
UNSEALED: Final = (
    "id",
    *(name for name in Account.model_fields if name != "id" and not name.endswith("_sealed")),
)
_SEALED: Final = ("access_token_sealed", "refresh_token_sealed")
_PLAIN: Final = {name: kind for name, kind in TOKEN.items() if name not in _SEALED} | SCHEDULE | STATE
_SEEN: Final = {"id": "text", "seen_generation": "bigint", "seen_config": "bigint"}
#: Fields of a row that become an entry of the audit trail -> its columns. The account's id is the row's own.
_AUDIT: Final = {
    "entry": "id",
    "actor": "actor",
    "host": "host",
    "action": "action",
    "provider": "provider",
    "detail": "detail",
}
_AUDITED: Final = dict.fromkeys(_AUDIT, "text")
_PAIR: Final = {"id": "text", "generation": "bigint"}
_MARK: Final = """
    UPDATE account SET published_generation = {0}.generation
    FROM {0} WHERE account.id = {0}.id AND account.published_generation < {0}.generation
    """


def read(connection: Connection, ids: Sequence[str]) -> dict[str, Account]:
    """Read the unsealed columns of accounts, and wait for every other transaction that stores refresh tokens.

    One statement does both: a row that changed while it waited is not written over, and twins are looked for after it.
    """
    engine = connection.engine
    rows = connection.execute(_read(is_sqlite(engine)), {"ids": many(engine, ids)}).all()
    return {str(row[0]): plain_account(UNSEALED, row) for row in rows}


@cache
def _read(on_sqlite: bool) -> TextClause:
    names = ", ".join(f"account.{name}" for name in UNSEALED)
    if on_sqlite:  # one writer at a time, by itself
        return text(f"SELECT {names} FROM account WHERE id IN (SELECT value FROM json_each(:ids))")
    return text(
        f"WITH turn AS MATERIALIZED (SELECT {ONE_AFTER_THE_OTHER}) "
        f"SELECT {names} FROM turn CROSS JOIN account WHERE account.id = ANY(:ids)"
    )


@dataclass(frozen=True, slots=True)
class Granted:
    """An account with its new grant, and what the audit trail says of it."""

    account: Account
    #: The generation that was read.
    seen: int
    actor: Actor
    act: Act


def write(
    connection: Connection, granted: Iterable[Granted], published: Sequence[tuple[str, int]] = ()
) -> set[str]:
    """Store the new grants of accounts, and their entries of the audit trail; returns the ids that were stored.

    A sealed token of None stays as it is stored. A row that has moved on is left alone. `source_fp` stays that of the last
    file: a file that is imported again, with the token of before the consent, is known by it.

    Args:
        connection: an open transaction.
        granted: accounts as they shall be.
        published: (account, generation) pairs that Redis has, noted in the same statement.
    """
    by_tokens: dict[tuple[str, ...], list[Granted]] = {}
    for one in sorted(granted, key=lambda one: one.account.id):
        sealed = tuple(name for name in _SEALED if getattr(one.account, name) is not None)
        by_tokens.setdefault(sealed, []).append(one)
    ids = {one.account.id for group in by_tokens.values() for one in group}
    # Of an account that gets another grant here, what Redis has is the one before.
    pairs = [{"id": name, "generation": generation} for name, generation in published if name not in ids]
    if is_sqlite(connection.engine):
        return _one_after_the_other(connection, by_tokens, pairs)
    if not by_tokens:
        execute(connection, _PAIR, _MARK.format("r"), pairs)
    stored: set[str] = set()
    for sealed, group in by_tokens.items():
        columns = _SEEN | _PLAIN | dict.fromkeys(sealed, "text") | _AUDITED
        rows = [_row(one, sealed) | _audited(one) for one in group]
        statement = _store_and_audit(sealed, now_sql(connection.engine))
        stored.update(
            str(row[0]) for row in execute(connection, columns, statement, rows, published=json.dumps(pairs))
        )
        pairs = []
    return stored


def _one_after_the_other(
    connection: Connection,
    by_tokens: Mapping[tuple[str, ...], Sequence[Granted]],
    pairs: Sequence[Mapping[str, Any]],
) -> set[str]:
    execute(connection, _PAIR, _MARK.format("r"), pairs)
    stored: set[str] = set()
    for sealed, group in by_tokens.items():
        columns = _SEEN | _PLAIN | dict.fromkeys(sealed, "text")
        rows = [_row(one, sealed) for one in group]
        stored.update(str(row[0]) for row in execute(connection, columns, _update(sealed), rows))
    acts: dict[Actor, list[Act]] = {}
    for one in (one for group in by_tokens.values() for one in group):
        if one.account.id in stored:
            acts.setdefault(one.actor, []).append(one.act)
    for actor, theirs in acts.items():
        record(connection, actor, theirs)
    return stored


def _row(one: Granted, sealed: Sequence[str]) -> dict[str, Any]:
    account = one.account
    return {name: getattr(account, name) for name in (*_PLAIN, *sealed, "id")} | {
        "seen_generation": one.seen,
        "seen_config": account.config_version,
    }


def _audited(one: Granted) -> dict[str, Any]:
    entry = entry_of(one.actor, one.act)
    return {name: entry[column] for name, column in _AUDIT.items()}


@cache
def _update(sealed: tuple[str, ...]) -> str:
    sets = ", ".join(f"{name} = r.{name}" for name in (*_PLAIN, *sealed))
    return f"""
        UPDATE account SET {sets}, published_generation = -1, kept_sealed = NULL
        FROM r WHERE account.id = r.id AND account.generation = r.seen_generation
         AND account.config_version = r.seen_config
        RETURNING account.id
        """


@cache
def _store_and_audit(sealed: tuple[str, ...], now: str) -> str:
    """Return PostgreSQL's statement: one round trip stores a batch, while others wait for their turn."""
    return f"""
        , stored AS ({_update(sealed)}),
        audited AS (
            INSERT INTO audit ({", ".join(_AUDIT.values())}, account_id, at)
            SELECT {", ".join(f"r.{name}" for name in _AUDIT)}, r.id, {now}
            FROM r JOIN stored ON stored.id = r.id
        ),
        p AS (
            SELECT * FROM json_to_recordset(CAST(:published AS json)) AS t(id text, generation bigint)
        ),
        marked AS ({_MARK.format("p")})
        SELECT id FROM stored
        """
