"""The SQL of a new grant: many in one transaction, and no statement that reads a sealed column.

A process that takes grants in may have a role that can write what is sealed and not read it (`deploy/postgresql/roles.sql`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from msgspec import Struct
from msgspec.json import decode
from sqlalchemy import Connection, text

from models.act import Action
from models.event import Event
from models.tables.account import Account
from models.tables.audit import Act, Actor
from worker.db import outbox
from worker.db.accounts.rows import plain_account
from worker.db.bulk import SCHEDULE, STATE, TOKEN, execute, json_rows, many, recordset
from worker.db.engine import is_sqlite, now_sql
from worker.db.fleet.twins import HOLDERS_POSTGRES, ONE_AFTER_THE_OTHER, holder_of, holders
from worker.db.pipelined import Sent, pipelined
from worker.db.records.acts import entries_of, record

#: Every column of an account that holds nothing sealed.
UNSEALED: Final = (
    "id",
    *(name for name in Account.model_fields if name != "id" and not name.endswith("_sealed")),
)
_SEALED: Final = ("access_token_sealed", "refresh_token_sealed")
#: It is not read here, so that what is written is that it is gone.
_KEPT: Final = "kept_sealed"
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


class LastGrant(Struct, frozen=True):
    """What the audit trail has of the latest grant of an account: its owner consented, there or at a page of Connect."""

    #: The generation that it made; 0: unknown.
    generation: int = 0
    outcome: str = ""
    #: Epoch seconds.
    consented_at: float | None = None
    #: Of the tokens that were handed over.
    refresh_fp: str | None = None
    access_fp: str | None = None
    #: What the account had of its last row then.
    source_fp: str | None = None


class Found(Struct, frozen=True):
    """What is stored of accounts that get new grants."""

    #: Their unsealed columns, by id.
    accounts: dict[str, Account]
    #: Accounts that hold one of the new refresh tokens, with its fingerprint.
    holders: list[tuple[str, Account]]
    #: Their latest grants, by id; of an account that has none since it was made there is nothing.
    last: dict[str, LastGrant]


def read(
    connection: Connection, ids: Sequence[str], fingerprints: Sequence[str], *, but: Sequence[str]
) -> Found:
    """Read the unsealed columns of accounts, having waited for every other transaction that stores refresh tokens.

    The same statement waits and reads: a row that changed meanwhile is not written over. Holders are looked for by the next
    statement, which sees what the others stored.

    Args:
        connection: an open transaction.
        ids: of the accounts.
        fingerprints: of refresh tokens that they get.
        but: ids of accounts that are no holders to be named.
    """
    engine = connection.engine
    if is_sqlite(engine):  # one writer at a time, by itself
        rows = connection.execute(text(_READ_SQLITE), {"ids": many(engine, ids)}).all()
        held = list(holders(connection, fingerprints, but=but)) if fingerprints else []
        last = connection.execute(text(_LAST_SQLITE), {"ids": many(engine, ids)}).all()
        return Found(_by_id(rows), held, _last_grants(last))
    with pipelined(connection) as pipeline:
        pipeline.send(_PLANNED_ONCE, {})
        read_rows = pipeline.send(_READ_POSTGRES, {"ids": list(ids)})
        last_rows = pipeline.send(_LAST_POSTGRES, {"ids": list(ids)})
        held_rows = (
            pipeline.send(HOLDERS_POSTGRES, {"fps": list(fingerprints), "but": list(but)})
            if fingerprints
            else None
        )
    held = [] if held_rows is None else [holder_of(row) for row in held_rows.fetchall()]
    return Found(_by_id(read_rows.fetchall()), held, _last_grants(last_rows.fetchall()))


def _by_id(rows: Iterable[Sequence[Any]]) -> dict[str, Account]:
    return {str(row[0]): plain_account(UNSEALED, row) for row in rows}


def _last_grants(rows: Iterable[Sequence[Any]]) -> dict[str, LastGrant]:
    return {
        str(account): decode(detail, type=LastGrant)
        for account, action, detail in rows
        if action != Action.REMOVE.value
    }


#: The latest of these entries tells of the account's latest grant: after a removal, the id is another account's.
_ACTS: Final = ", ".join(f"'{one.value}'" for one in (Action.GRANT, Action.AUTHORIZE, Action.REMOVE))
_LAST: Final = f"""
    SELECT entry.account_id, entry.action, entry.detail FROM {{}} JOIN audit AS entry ON entry.id = (
        SELECT audit.id FROM audit WHERE audit.account_id = wanted.value AND audit.action IN ({_ACTS})
        ORDER BY audit.at DESC, audit.id DESC LIMIT 1
    )
    """
_LAST_SQLITE: Final = _LAST.format("json_each(:ids) AS wanted")
_LAST_POSTGRES: Final = _LAST.format("unnest(%(ids)s::text[]) AS wanted (value)")


#: For this transaction: each statement is planned once, not with each new list of ids, which takes longer than to run it; and
#: by indexes alone, because the plan stays when a small table has grown.
_PLANNED_ONCE: Final = (
    "SELECT set_config('plan_cache_mode', 'force_generic_plan', true), "
    "set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)"
)
_NAMES: Final = ", ".join(f"account.{name}" for name in UNSEALED)
_READ_SQLITE: Final = f"SELECT {_NAMES} FROM account WHERE id IN (SELECT value FROM json_each(:ids))"
_READ_POSTGRES: Final = (
    f"WITH turn AS MATERIALIZED (SELECT {ONE_AFTER_THE_OTHER}) "
    f"SELECT {_NAMES} FROM turn CROSS JOIN account WHERE account.id = ANY(%(ids)s)"
)


class Granted(Struct, frozen=True):
    """An account with its new grant, and what the audit trail says of it."""

    account: Account
    #: The generation that was read.
    seen: int
    actor: Actor
    act: Act
    #: Happenings for the outbox.
    told: tuple[Event, ...] = ()
    #: The stored access token is of the grant before, and goes.
    ends_access_token: bool = False
    #: It has another refresh token than was read: an answer that is kept beside the row is of the grant before, and goes.
    replaces: bool = True

    @property
    def sealed(self) -> tuple[str, ...]:
        """Return the columns of sealed tokens that are written."""
        ends = {"access_token_sealed"} if self.ends_access_token else set[str]()
        names = [name for name in _SEALED if name in ends or getattr(self.account, name) is not None]
        return (*names, _KEPT) if self.replaces else tuple(names)


def write(
    connection: Connection,
    granted: Iterable[Granted],
    published: Sequence[tuple[str, int]] = (),
    *,
    commit: bool = False,
) -> set[str]:
    """Store the new grants of accounts, their entries of the audit trail, and their happenings; returns the ids stored.

    A sealed token of None stays as it is stored, unless the grant ends it. A row that has moved on is left alone. `source_fp` stays that of the last
    file: a file that is imported again, with the token of before the consent, is known by it.

    Args:
        connection: an open transaction.
        granted: accounts as they shall be.
        published: (account, generation) pairs that Redis has, noted in the same statement.
        commit: end the transaction here; on PostgreSQL that spares a round trip.
    """
    by_tokens: dict[tuple[str, ...], list[Granted]] = {}
    for one in sorted(granted, key=lambda one: one.account.id):
        by_tokens.setdefault(one.sealed, []).append(one)
    ids = {one.account.id for group in by_tokens.values() for one in group}
    # Of an account that gets another grant here, what Redis has is the one before.
    pairs = [{"id": name, "generation": generation} for name, generation in published if name not in ids]
    if is_sqlite(connection.engine):
        return _one_after_the_other(connection, by_tokens, pairs)
    now, sent = now_sql(connection.engine), list[Sent]()
    with pipelined(connection) as pipeline:
        if not by_tokens:
            pipeline.send(_MARKS, _published(pairs))
        for sealed, group in by_tokens.items():
            columns = _columns(sealed)
            entries = entries_of([(one.actor, one.act) for one in group])
            rows = [_row(one, sealed) | _audited(entry) for one, entry in zip(group, entries, strict=True)]
            events = [event for one in group for event in one.told]
            parameters = {
                "ids": [one.account.id for one in group],
                "rows": json_rows(columns, rows),
                "told": json_rows(outbox.COLUMNS, outbox.rows_of(events)),
                **_published(pairs),
            }
            sent.append(pipeline.send(_store_and_audit(sealed, now), parameters))
            pairs = []
        if commit:
            pipeline.commit()
    return {str(row[0]) for one in sent for row in one.fetchall()}


def _published(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"published": json.dumps(pairs), "published_ids": [one["id"] for one in pairs]}


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
    done = [one for group in by_tokens.values() for one in group if one.account.id in stored]
    for one in done:
        acts.setdefault(one.actor, []).append(one.act)
    for actor, theirs in acts.items():
        record(connection, actor, theirs)
    outbox.put(connection, [event for one in done for event in one.told])
    return stored


def _row(one: Granted, sealed: Sequence[str]) -> dict[str, Any]:
    account = one.account
    return {name: None if name == _KEPT else getattr(account, name) for name in (*_PLAIN, *sealed, "id")} | {
        "seen_generation": one.seen,
        "seen_config": account.config_version,
    }


def _audited(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[column] for name, column in _AUDIT.items()}


@cache
def _update(sealed: tuple[str, ...], among: str = "") -> str:
    sets = ", ".join(f"{name} = r.{name}" for name in (*_PLAIN, *sealed))
    return f"""
        UPDATE account SET {sets}, published_generation = -1
        FROM r WHERE account.id = r.id AND account.generation = r.seen_generation
         AND account.config_version = r.seen_config {among}
        RETURNING account.id
        """


@cache
def _columns(sealed: tuple[str, ...]) -> dict[str, str]:
    return _SEEN | _PLAIN | dict.fromkeys(sealed, "text") | _AUDITED


@cache
def _store_and_audit(sealed: tuple[str, ...], now: str) -> str:
    """Return PostgreSQL's statement: one round trip stores a batch, while others wait for their turn."""
    return f"""
        WITH {recordset("r", "rows", _columns(sealed))},
        stored AS ({_update(sealed, _AMONG.format("ids"))}),
        audited AS (
            INSERT INTO audit ({", ".join(_AUDIT.values())}, account_id, at)
            SELECT {", ".join(f"r.{name}" for name in _AUDIT)}, r.id, {now}
            FROM r JOIN stored ON stored.id = r.id
        ),
        {recordset("t", "told", outbox.COLUMNS)},
        told AS ({outbox.insert("t JOIN stored ON stored.id = t.account", "t")}),
        {_MARKED}
        SELECT id FROM stored
        """


#: PostgreSQL takes a JSON text for a hundred rows, and would read a table of some thousand accounts from end to end.
_AMONG: Final = "AND account.id = ANY(%({})s)"
_MARKED: Final = (
    f"{recordset('p', 'published', _PAIR)}, marked AS ({_MARK.format('p')} {_AMONG.format('published_ids')})"
)
_MARKS: Final = f"WITH {_MARKED} SELECT 1"
