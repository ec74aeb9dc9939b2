"""Rotate keys while workers run: every value sealed with another key is opened and sealed anew.

A value is replaced only while it still is what was read, so a worker that stored a newer one meanwhile wins; its
own is sealed with the writing key anyway. Done in batches by id: what is interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from sqlalchemy import Engine, text

from models.tables.client import CLIENT
from models.tables.issuer import REGISTRATION
from models.token import Secret
from worker.crypto.cipher import Cipher
from worker.crypto.sealer import SEALED_COLUMNS
from worker.db.bulk import execute
from worker.db.engine import is_sqlite, reading, writing
from worker.errors import CipherError

BATCH: Final = 2_000

#: A row of a change, all of it NULL but what is to be sealed anew.
_TYPES: Final = {"id": "text"} | {
    f"{field}{which}": "text" for field in SEALED_COLUMNS.values() for which in ("_was", "")
}
_NOTHING: Final = dict.fromkeys(_TYPES)
#: All of an account's values in one statement: a row that is written once leaves one dead row behind, not four.
_RESEAL: Final = "UPDATE account SET {} FROM r WHERE account.id = r.id".format(
    ", ".join(
        f"{column} = CASE WHEN account.{column} = r.{field}_was THEN r.{field} ELSE account.{column} END"
        for column, field in SEALED_COLUMNS.items()
    )
)


_CLIENT_SECRETS: Final = (
    "SELECT name, client_secret_sealed FROM client WHERE client_secret_sealed IS NOT NULL ORDER BY name"
)
_RESEAL_CLIENT: Final = (
    "UPDATE client SET client_secret_sealed = :sealed WHERE name = :name AND client_secret_sealed = :was"
)
_REGISTRATIONS: Final = (
    "SELECT client, registration_access_token_sealed FROM client_registration "
    "WHERE registration_access_token_sealed IS NOT NULL ORDER BY client"
)
_RESEAL_REGISTRATION: Final = (
    "UPDATE client_registration SET registration_access_token_sealed = :sealed "
    "WHERE client = :name AND registration_access_token_sealed = :was"
)
#: What clients have sealed: the field, how it is read, and how it is replaced.
_OF_CLIENTS: Final = (
    (CLIENT, _CLIENT_SECRETS, _RESEAL_CLIENT),
    (REGISTRATION, _REGISTRATIONS, _RESEAL_REGISTRATION),
)


class Unreadable(Struct, frozen=True):
    """A value that does not open, and why; it stays as it is. Of the fields `client` and `registration`, `account` is a client's name."""

    account: str
    field: str
    reason: str


class Pass(Struct, frozen=True):
    """One batch of accounts looked at."""

    accounts: int
    resealed: int
    unreadable: tuple[Unreadable, ...]


class _Row(Struct, frozen=True):
    """An account's sealed values, by field."""

    account: str
    values: dict[str, str]


def accounts(engine: Engine) -> int:
    """Count what a pass has to look at."""
    with reading(engine) as connection:
        return int(connection.execute(text("SELECT count(*) FROM account")).scalar_one())


def check(engine: Engine, cipher: Cipher) -> Iterator[Pass]:
    """Open every value, and change none."""
    for rows in _batches(engine):
        bad: list[Unreadable] = []
        for row in rows:
            for field, sealed in row.values.items():
                _open(cipher, row.account, field, sealed, bad)
        yield Pass(len(rows), 0, tuple(bad))
    yield from _clients(engine, cipher, anew=False)


def rotate(engine: Engine, cipher: Cipher) -> Iterator[Pass]:
    """Seal with the writing key whatever another one sealed, or was sealed to a public key; a batch is one transaction."""
    for rows in _batches(engine):
        bad: list[Unreadable] = []
        changes = [change for row in rows if len(change := _anew(cipher, row, bad)) > 1]
        if changes:
            with writing(engine) as connection:
                execute(connection, _TYPES, _RESEAL, (_NOTHING | change for change in changes))
        yield Pass(len(rows), sum(len(change) // 2 for change in changes), tuple(bad))
    yield from _clients(engine, cipher, anew=True)


def _clients(engine: Engine, cipher: Cipher, *, anew: bool) -> Iterator[Pass]:
    """Open every client's secret and registration access token and, with `anew`, seal with the writing key what another one sealed."""
    for field, select, update in _OF_CLIENTS:
        with reading(engine) as connection:
            rows = connection.execute(text(select)).all()
        bad: list[Unreadable] = []
        resealed = 0
        for name, sealed in rows:
            opened = _open(cipher, name, field, sealed, bad)
            if not anew or opened is None or cipher.is_current(sealed):
                continue
            with writing(engine) as connection:
                values = {
                    "name": name,
                    "was": sealed,
                    "sealed": cipher.seal(opened, account=name, field=field),
                }
                resealed += connection.execute(text(update), values).rowcount
        if rows:
            yield Pass(0, resealed, tuple(bad))


def _anew(cipher: Cipher, row: _Row, bad: list[Unreadable]) -> dict[str, str]:
    """Return the account's id, and for each value that is not sealed with the writing key what it was and what it becomes."""
    change = {"id": row.account}
    for field, sealed in row.values.items():
        if cipher.is_current(sealed):
            continue
        secret = _open(cipher, row.account, field, sealed, bad)
        if secret is not None:
            change[f"{field}_was"] = sealed
            change[field] = cipher.seal(secret, account=row.account, field=field)
    return change


def _open(cipher: Cipher, account: str, field: str, sealed: str, bad: list[Unreadable]) -> Secret | None:
    try:
        return cipher.open(sealed, account=account, field=field)
    except CipherError as error:
        bad.append(Unreadable(account, field, str(error)))
        return None


def _batches(engine: Engine) -> Iterator[list[_Row]]:
    after = ""
    statement = text(
        f"SELECT id, {', '.join(SEALED_COLUMNS)} FROM account WHERE id > :after ORDER BY id LIMIT :batch"
    )
    fields = SEALED_COLUMNS.values()
    while True:
        with reading(engine) as connection:
            found = connection.execute(statement, {"after": after, "batch": BATCH}).all()
        if not found:
            return
        after = found[-1][0]
        yield [
            _Row(
                account,
                {field: sealed for field, sealed in zip(fields, values, strict=True) if sealed is not None},
            )
            for account, *values in found
        ]


def sealed_with(engine: Engine) -> dict[str, int]:
    """Count sealed values by the key that sealed them: one pass over the accounts."""
    key = "substr({0}, 4, instr(substr({0}, 4), '.') - 1)" if is_sqlite(engine) else "split_part({0}, '.', 2)"
    counts: dict[str, int] = {}
    places = [("account", column) for column in SEALED_COLUMNS] + [
        ("client", "client_secret_sealed"),
        ("client_registration", "registration_access_token_sealed"),
    ]
    with reading(engine) as connection:
        for table, column in places:
            rows = connection.execute(
                text(
                    f"SELECT {key.format(column)}, count(*) FROM {table} WHERE {column} IS NOT NULL GROUP BY 1"
                )
            )
            for key_id, count in rows:
                counts[str(key_id)] = counts.get(str(key_id), 0) + int(count)
    return dict(sorted(counts.items()))
