"""The database: one engine per process, and a schema that is checked before anything is read."""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, ProgrammingError, SAWarning
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from models.migrations import HEAD, REVISIONS
from worker.db.postgresql.connections import is_pooled, postgres_engine
from worker.db.postgresql.password import DatabasePassword
from worker.db.refused_values import is_of_values
from worker.errors import DatabaseUnreachable, RowsLocked, SchemaOutdated, SettingsError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

#: SQLSTATE read_only_sql_transaction.
_READ_ONLY: Final = "25006"
#: SQLSTATE lock_not_available: the lock time-out.
_LOCK_NOT_AVAILABLE: Final = "55P03"
#: SQLSTATE insufficient_privilege.
_INSUFFICIENT_PRIVILEGE: Final = "42501"
#: SQLite has one writer; others wait this long for their turn before they report a busy database.
SQLITE_BUSY_TIMEOUT_S: Final = 30
_BUSY_POLL_S: Final = 0.05
#: Durable at each commit. The cache holds the rows of 30,000 accounts, and a checkpoint comes every 16 MB instead of
#: every 4: with the defaults a refresh spent more in reading pages again than in its statements.
SQLITE_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "cache_size=-65536",
    "wal_autocheckpoint=4000",
)
#: SQLite's codes for a file that is none of its own, or is damaged.
_NO_DATABASE: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_SECRET_OPTIONS: Final = ("password", "sslpassword")
#: A plan and a refresh use a connection again within milliseconds: whether a server still answers is asked after a pause.
TRUSTED_S: Final = 1.0


def make_engine(
    url: str,
    *,
    pool_size: int = 8,
    password: DatabasePassword | None = None,
    search_path: str | None = None,
    trusted_s: float = TRUSTED_S,
) -> Engine:
    """Make the engine. Call it after a fork, never before.

    Args:
        url: of a SQLite or a PostgreSQL.
        pool_size: connections to PostgreSQL that stay open.
        password: where PostgreSQL's comes from; None: from the URL.
        search_path: the schema that names of tables mean on PostgreSQL; None: the role's own.
        trusted_s: a connection to PostgreSQL that was used so recently is used again without a round trip that asks for it.

    Raises:
        SettingsError: the URL is invalid, or of a database that is neither SQLite nor PostgreSQL.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed)
    return postgres_engine(
        parsed, pool_size=pool_size, password=password, search_path=search_path, trusted_s=trusted_s
    )


def is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that writes (SQLite: BEGIN IMMEDIATE, so that it can't fail half-way on a lock).

    Raises:
        DatabaseUnreachable: the server is away, the disk is full, or the database can't be written.
    """
    with _transaction(engine, writes=True) as connection:
        yield connection


@contextmanager
def writing_one(engine: Engine) -> Iterator[Connection]:
    """Open a connection for one statement that writes: on PostgreSQL it is a transaction, of one round trip instead of three.

    Raises:
        DatabaseUnreachable: as `writing`.
    """
    with _transaction(engine, writes=True, alone=True) as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads; on PostgreSQL each statement is one, as READ COMMITTED sees it anyway.

    So a statement is one round trip instead of three.

    Raises:
        DatabaseUnreachable: the server is away.
    """
    with _transaction(engine, writes=False, alone=True) as connection:
        yield connection


def now_sql(engine: Engine) -> str:
    """Return the SQL expression of the database's clock, epoch seconds."""
    if is_sqlite(engine):
        return "((julianday('now') - 2440587.5) * 86400.0)"
    return "extract(epoch from statement_timestamp())::double precision"


def database_now(connection: Connection) -> float:
    return float(connection.execute(text(f"SELECT {now_sql(connection.engine)}")).scalar_one())


def current_revision(engine: Engine) -> str | None:
    """Return the revision of the database's schema, None where it has none."""
    with reading(engine) as connection:
        return revision_of(connection)


def revision_of(connection: Connection) -> str | None:
    """Return what Alembic wrote down last; None where it never did."""
    # SQLAlchemy's inspector would find it too, at ten times the CPU.
    known = (
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
        if is_sqlite(connection.engine)
        else "SELECT to_regclass('alembic_version') IS NOT NULL"
    )
    if not connection.execute(text(known)).scalar_one():
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def write_refused(engine: Engine) -> str | None:
    """Return why the database can't be written, None where it can: by writing what leaves no trace. A full disk says so."""
    try:
        with writing(engine) as connection:
            # Not a row as it is: SQLite sees that nothing changes, and writes nothing.
            connection.execute(text("INSERT INTO duty (name, until) VALUES ('write-check', 0)"))
            connection.execute(text("DELETE FROM duty WHERE name = 'write-check'"))
    except DatabaseUnreachable as error:
        return str(error)
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != _INSUFFICIENT_PRIVILEGE:
            raise  # a read-only role shows nothing about what workers can do
    return None


def check_schema(engine: Engine) -> None:
    """Check that the schema is the one that this code works on.

    Raises:
        SchemaOutdated: it is older, or not there. A newer one is accepted: a migration never breaks the
            release before it.
        DatabaseUnreachable: the server is away.
    """
    current = current_revision(engine)
    if current is None:
        raise SchemaOutdated(_no_schema(engine.url))
    if current in REVISIONS and current != HEAD:
        raise SchemaOutdated(
            f"the database is at revision {current}, this code needs {HEAD}: run `refreshd db upgrade`"
        )


def require_database(url: str) -> None:
    """Check that the file of a SQLite is there: to open it would make it, in whatever folder a command was typed.

    Raises:
        SchemaOutdated: there is none.
        SettingsError: the URL is invalid.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite" or str(parsed.database).startswith("file:"):
        return
    try:
        Path(str(parsed.database)).stat()
    except FileNotFoundError:
        raise SchemaOutdated(_no_schema(parsed)) from None
    except OSError:
        return  # opening it says what is wrong


def _no_schema(url: URL) -> str:
    if url.get_backend_name() != "sqlite":
        return (
            f"the database {address_of(url)} holds no refreshd schema yet: run `refreshd db upgrade`, or correct "
            "REFRESHD_DATABASE_URL"
        )
    return (
        f"the database {Path(str(url.database)).absolute()} holds no refreshd schema yet: run `refreshd db upgrade` for a new "
        "installation there; one that is elsewhere is found from its own folder, or by REFRESHD_DATA_DIR=FOLDER "
        "(REFRESHD_DATABASE_URL, where that is set)"
    )


def _parse(url: str) -> URL:
    try:
        parsed = make_url(
            url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url
        )
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        parsed = None
    if parsed is None or "@" in (parsed.host or ""):
        raise SettingsError(
            "REFRESHD_DATABASE_URL: not a valid database URL; expected sqlite:///path/refreshd.db or "
            "postgresql://user:password@host/database, a password's @ : / ? # written as %40 %3A %2F %3F %23"
        )
    backend = parsed.get_backend_name()
    if backend not in {"sqlite", "postgresql"}:
        raise SettingsError(
            f"REFRESHD_DATABASE_URL: {backend} is not supported; use sqlite:/// or postgresql://"
        )
    if backend == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise SettingsError(
            "REFRESHD_DATABASE_URL: an in-memory SQLite is lost with its process; name a file"
        )
    parsed = parsed.set(drivername="postgresql+psycopg") if backend == "postgresql" else parsed
    if parsed.query:
        _check_options(parsed)
    return parsed


def _check_options(url: URL) -> None:
    """Have the driver parse the options, which otherwise fails at the first connection, in a traceback.

    Raises:
        SettingsError: the driver does not know an option, or can't read its value. Neither is shown: a password
            with an unquoted ? ends up among them.
    """
    import psycopg  # late: who uses SQLite does not load it
    from psycopg.conninfo import make_conninfo

    try:
        with warnings.catch_warnings(
            action="error", category=SAWarning
        ):  # of an option that SQLite does not know
            _, options = url.get_dialect()().create_connect_args(url)
        if url.get_backend_name() == "postgresql":
            make_conninfo(**options)
    except (ArgumentError, SAWarning, ValueError, TypeError, psycopg.Error):
        raise SettingsError(
            "REFRESHD_DATABASE_URL: not a valid database URL: unknown option behind the ?, or an option's value that can't be "
            "read; a password's ? is written as %3F"
        ) from None


def _sqlite_engine(url: URL) -> Engine:
    path = Path(str(url.database))
    if not path.parent.exists():
        try:
            path.parent.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise SettingsError(
                f"the folder of the database {path} can't be made: {error.strerror}; REFRESHD_DATABASE_URL names it, or "
                "REFRESHD_DATA_DIR"
            ) from None
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        driver: Any = connection
        driver.isolation_level = None  # we say BEGIN ourselves
        cursor = driver.cursor()
        for pragma in SQLITE_PRAGMAS:
            _set(cursor, pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("refreshd_begin", "BEGIN"))

    return engine


def _set(cursor: sqlite3.Cursor, pragma: str) -> None:
    """Set a pragma; SQLite does not wait by itself for another process that makes a new file's journal a WAL."""
    deadline = time.monotonic() + SQLITE_BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute(f"PRAGMA {pragma}")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_POLL_S)
        else:
            return


@contextmanager
def _transaction(engine: Engine, *, writes: bool, alone: bool = False) -> Iterator[Connection]:
    """Open a transaction, or on PostgreSQL one for each statement alone."""
    try:
        with engine.connect() as connection:
            if is_sqlite(engine):
                connection.execution_options(refreshd_begin="BEGIN IMMEDIATE" if writes else "BEGIN")
            elif alone and not is_pooled(connection):  # a pooler's time-outs are set in a transaction
                connection.execution_options(isolation_level="AUTOCOMMIT")
            with connection.begin():
                yield connection
    except (OperationalError, PoolTimeoutError, sqlite3.OperationalError) as error:
        if getattr(getattr(error, "orig", error), "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            raise  # a wrong statement: SQLite files it under the same class as a database that is away
        if getattr(getattr(error, "orig", error), "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise RowsLocked(_in_words(engine, error)) from error
        if is_of_values(getattr(error, "orig", error)):
            raise  # psycopg files a value that is too long for an index under the same class
        raise DatabaseUnreachable(_in_words(engine, error)) from error
    except DBAPIError as error:
        # A database that takes no writes (a standby after a failover) is away, as far as an answer to store goes.
        takes_none = getattr(error.orig, "sqlstate", None) == _READ_ONLY
        is_none = getattr(error.orig, "sqlite_errorcode", None) in _NO_DATABASE
        if error.connection_invalidated or takes_none or is_none:
            raise DatabaseUnreachable(_in_words(engine, error)) from error
        raise


def address_of(url: URL) -> str:
    """Return what of a URL may be shown. libpq takes passwords among the options too."""
    return url.difference_update_query(_SECRET_OPTIONS).render_as_string(hide_password=True)


def _in_words(engine: Engine, error: Exception) -> str:
    where = address_of(engine.url)
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    tls = ", and with sslrootcert=FILE whom it trusts (docs/deployment.md, TLS)"
    hint = tls if "certificate" in cause.casefold() else ""
    return f"the database {where} can't be used: {cause}. REFRESHD_DATABASE_URL says where it is{hint}"
