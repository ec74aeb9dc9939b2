"""Rotate keys while workers run: every value sealed with another key is opened and sealed anew.

A value is replaced only while it still is what was read, so a worker that stored a newer one meanwhile wins; its
own is sealed with the writing key anyway. Done in batches by id: what is interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine, text

from worker.errors import CipherError
from worker.io.cipher import Cipher, key_of
from worker.io.database import reading, writing
from worker.io.rows import execute

#: Column -> the field that its values are bound to.
SEALED_COLUMNS: Final = {
    "client_secret_sealed": "client_secret",
    "access_token_sealed": "access_token",
    "refresh_token_sealed": "refresh_token",
    "custom_fields_sealed": "custom_fields",
    "kept_sealed": "stash",
}
BATCH: Final = 2_000


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that does not open, and why; it stays as it is."""

    account: str
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pass:
    """One batch of accounts looked at."""

    accounts: int
    resealed: int
    unreadable: tuple[Unreadable, ...]


def accounts(engine: Engine) -> int:
    """Count what a pass has to look at."""
    with reading(engine) as connection:
        return int(connection.execute(text("SELECT count(*) FROM account")).scalar_one())


def check(engine: Engine, cipher: Cipher) -> Iterator[Pass]:
    """Open every value, and change none."""
    for rows in _batches(engine):
        bad = [
            found
            for account, field, sealed in _values(rows)
            if (found := _unreadable(cipher, account, field, sealed))
        ]
        yield Pass(len(rows), 0, tuple(bad))


def rotate(engine: Engine, cipher: Cipher) -> Iterator[Pass]:
    """Seal with the writing key whatever another one sealed; a batch is one transaction."""
    for rows in _batches(engine):
        changes: dict[str, list[dict[str, str]]] = {}
        bad: list[Unreadable] = []
        for account, field, sealed in _values(rows):
            if key_of(sealed) == cipher.writing_key:
                continue
            try:
                secret = cipher.open(sealed, account=account, field=field)
            except CipherError as error:
                bad.append(Unreadable(account, field, str(error)))
                continue
            anew = cipher.seal(secret, account=account, field=field)
            changes.setdefault(field, []).append({"id": account, "old": sealed, "anew": anew})
        _write(engine, changes)
        yield Pass(len(rows), sum(len(rows) for rows in changes.values()), tuple(bad))


def _write(engine: Engine, changes: dict[str, list[dict[str, str]]]) -> None:
    if not changes:
        return
    with writing(engine) as connection:
        for column, field in SEALED_COLUMNS.items():
            execute(
                connection,
                {"id": "text", "old": "text", "anew": "text"},
                f"UPDATE account SET {column} = r.anew FROM r WHERE account.id = r.id AND account.{column} = r.old",
                sorted(changes.get(field, []), key=lambda row: row["id"]),
            )


def _batches(engine: Engine) -> Iterator[list[tuple[str | None, ...]]]:
    after = ""
    columns = ", ".join(SEALED_COLUMNS)
    while True:
        with reading(engine) as connection:
            statement = text(f"SELECT id, {columns} FROM account WHERE id > :after ORDER BY id LIMIT :batch")
            rows = [tuple(row) for row in connection.execute(statement, {"after": after, "batch": BATCH})]
        if not rows:
            return
        after = str(rows[-1][0])
        yield rows


def _values(rows: list[tuple[str | None, ...]]) -> Iterator[tuple[str, str, str]]:
    for account, *sealed in rows:
        for field, value in zip(SEALED_COLUMNS.values(), sealed, strict=True):
            if value is not None:
                yield str(account), field, value


def _unreadable(cipher: Cipher, account: str, field: str, sealed: str) -> Unreadable | None:
    try:
        cipher.open(sealed, account=account, field=field)
    except CipherError as error:
        return Unreadable(account, field, str(error))
    return None
