"""How long a rotation of all keys takes.

    python -m benchmarks.rotate_keys [--rows 100000] [--database sqlite|postgresql]

Accounts with four sealed values each: a client secret, two tokens of 40 and 1,000 characters, a custom field. Nothing else
runs beside; workers may.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, insert

from models.tables.account import Account
from models.token import Secret
from tests.support.server_process import sigterm_ends_as_ctrl_c_does
from tests.support.services import empty_database
from worker.crypto.cipher import Cipher, generate_key, parse_keys
from worker.db.engine import make_engine, writing
from worker.db.migrate import upgrade
from worker.db.repair.rekey import BATCH, rotate, sealed_with

DATABASES: Final = ("sqlite", "postgresql")
#: What an account keeps sealed, and how many characters it has.
LENGTHS: Final = {"client_secret": 40, "access_token": 1000, "refresh_token": 40, "custom_fields": 60}


@contextmanager
def engine_of(database: str, folder: Path) -> Iterator[Engine]:
    with empty_database(database, folder, durable=True) as url:
        upgrade(url)
        engine = make_engine(url)
        yield engine
        engine.dispose()


def fill(engine: Engine, cipher: Cipher, rows: int) -> None:
    secrets = {field: Secret("x" * length) for field, length in LENGTHS.items()}
    columns = Account(id="", provider="acme").model_dump()
    columns = {name: value for name, value in columns.items() if value is not None} | {
        f"{field}_sealed": None for field in secrets
    }
    for start in range(0, rows, BATCH):
        batch = [
            columns
            | {"id": account}
            | {
                f"{field}_sealed": cipher.seal(secret, account=account, field=field)
                for field, secret in secrets.items()
            }
            for account in (f"acct-{number:08}" for number in range(start, min(start + BATCH, rows)))
        ]
        with writing(engine) as connection:
            connection.execute(insert(Account), batch)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rotate_keys")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--database", choices=DATABASES, action="append", help="default: both")
    asked = parser.parse_args()
    sigterm_ends_as_ctrl_c_does()
    old, new = generate_key("old"), generate_key("new")
    for database in asked.database or DATABASES:
        with tempfile.TemporaryDirectory() as folder, engine_of(database, Path(folder)) as engine:
            fill(engine, Cipher(parse_keys(old)), asked.rows)
            began, cpu = time.perf_counter(), time.process_time()
            resealed = sum(one.resealed for one in rotate(engine, Cipher(parse_keys(f"{new},{old}"))))
            took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
            if set(sealed_with(engine)) != {"new"}:
                raise SystemExit(f"{database}: something is still sealed with the old key")
        print(
            f"{database}: {asked.rows:,} accounts, {resealed:,} values in {took_s:.1f} s "
            f"({asked.rows / took_s:,.0f} accounts/s, {cpu_s:.1f} s CPU of this process)",
            flush=True,
        )


if __name__ == "__main__":
    main()
