"""The database's schema, brought to this code's revision. Whoever only uses it need not load Alembic."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config

import models.migrations
from models.migrations import HEAD, REVISIONS
from worker.db.engine import is_sqlite, make_engine, revision_of, writing
from worker.db.postgresql.connections import LOCK_TIMEOUT_S, STATEMENT_TIMEOUT_S
from worker.db.postgresql.password import DatabasePassword

#: Two upgrades at once go one after the other, however long the first one takes; its tables are waited for as always.
#: The number is any that no other program takes in this database.
_WAIT_FOR_UPGRADE: Final = (
    "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; "
    f"SELECT pg_advisory_xact_lock({0x7265667265736864}); "
    f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'; SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'"
)
_MIGRATIONS: Final = Path(models.migrations.__file__).parent


def upgrade(url: str, *, password: DatabasePassword | None = None) -> tuple[str | None, str]:
    """Bring the schema to this code's revision. Returns (revision before, revision after).

    The schema of a newer release stays as it is: who goes back a release starts with the same command.

    Args:
        url: of the database.
        password: where PostgreSQL's password comes from; None: from the URL.

    Raises:
        DatabaseUnreachable: the server is away or refuses.
    """
    engine = make_engine(url, password=password)
    try:
        with writing(engine) as connection:
            if not is_sqlite(engine):  # SQLite has one writer; here a second one would make the same tables
                connection.exec_driver_sql(_WAIT_FOR_UPGRADE)
            before = revision_of(connection)
            if before is not None and before not in REVISIONS:
                return before, before
            config = Config()
            config.set_main_option("script_location", str(_MIGRATIONS))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()
    return before, HEAD
