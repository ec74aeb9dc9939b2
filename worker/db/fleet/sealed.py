"""The SQL of sealed values: which keys sealed them, in a bounded sample of the accounts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from msgspec import Struct
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from worker.crypto.cipher import key_of
from worker.crypto.sealer import SEALED_COLUMNS
from worker.db.engine import make_engine, reading
from worker.errors import DatabaseUnreachable, SettingsError
from worker.settings import Settings


def refuse_new_key(settings: Settings) -> None:
    """Raise where no key is there and the SQLite database has sealed values: a key that is made now opens none of them.

    Raises:
        SettingsError: it names the keys that sealed them, and where to put them.
    """
    file = make_url(settings.database).database
    if file is None or not Path(file).exists():
        return
    engine = make_engine(settings.database)
    try:
        sealed = sealed_sample(engine).keys
    except (DatabaseUnreachable, SQLAlchemyError):  # no schema yet, or no database: whoever uses it says so
        return
    finally:
        engine.dispose()
    if sealed:
        raise SettingsError(
            f"no key is set, and {file} has values that are sealed with {' and '.join(map(repr, sealed))}: set "
            f"REFRESHD_KEYS (or REFRESHD_KEYS_FILE, REFRESHD_KEYS_COMMAND) as it was, or bring {settings.made_keys_file} back. "
            "A new key would open none of them"
        )


class SealedSample(Struct, frozen=True):
    """Sealed values of some accounts, counted by the key that sealed them."""

    keys: dict[str, int]
    accounts: int
    #: The fleet has more accounts than the sample.
    partial: bool


def sealed_sample(engine: Engine, *, accounts: int = 2_000) -> SealedSample:
    """Count sealed values by key in a bounded number of accounts: the first ones by id, and those that are due next."""
    columns = f"id, {', '.join(SEALED_COLUMNS)}"
    walks = (
        f"SELECT {columns} FROM account WHERE id > '' ORDER BY id LIMIT :accounts",
        # Accounts that were not refreshed for longest: an old key is found here first.
        f"SELECT {columns} FROM account WHERE plan_at > 0 ORDER BY plan_at LIMIT :accounts",
    )
    rows: dict[str, tuple[str | None, ...]] = {}
    partial = False
    with reading(engine) as connection:
        for walk in walks:
            found = connection.execute(text(walk), {"accounts": accounts}).all()
            rows |= {str(account): tuple(values) for account, *values in found}
            partial = len(found) == accounts
            if not partial:
                break
        clients = connection.execute(
            text(
                "SELECT client_secret_sealed FROM client WHERE client_secret_sealed IS NOT NULL LIMIT :most"
            ),
            {"most": accounts},
        ).scalars()
        keys = Counter(str(key_of(value)) for value in clients)
    keys += Counter(str(key_of(value)) for values in rows.values() for value in values if value is not None)
    return SealedSample(dict(sorted(keys.items())), len(rows), partial)
