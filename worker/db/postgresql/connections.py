"""Connections to PostgreSQL, straight or through a pooler such as PgBouncer: the same time-outs either way.

A pooler hands the server's sessions from client to client, so that nothing may stay in one: time-outs are set in each
transaction, in the message that begins it, and no statement is prepared. What stands between is seen by itself: PgBouncer
refuses time-outs at the start of a session, and the process id that it names is not the server's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InvalidatePoolError

from worker.db.postgresql.password import DatabasePassword
from worker.log import log

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.pool import ConnectionPoolEntry

#: A PostgreSQL that does not take a connection within this time is unreachable.
CONNECT_TIMEOUT_S: Final = 5
#: No statement of ours takes longer on a healthy server; a longer one must not hold a worker.
STATEMENT_TIMEOUT_S: Final = 60
#: A lock that is not free by then is held by something broken.
LOCK_TIMEOUT_S: Final = STATEMENT_TIMEOUT_S // 2
#: A process that is stopped within a transaction holds its rows; after this long the server frees them.
IDLE_TRANSACTION_TIMEOUT_S: Final = 10

_TIMEOUTS: Final = {
    "statement_timeout": STATEMENT_TIMEOUT_S,
    "lock_timeout": LOCK_TIMEOUT_S,
    "idle_in_transaction_session_timeout": IDLE_TRANSACTION_TIMEOUT_S,
}
#: Whether a pooler stands between, in what SQLAlchemy keeps beside a connection.
_POOLED: Final = "refreshd_pooled"
#: When a connection was given back, there as well.
_USED_AT: Final = "refreshd_used_at"
#: What PgBouncer answers to a session that begins with options.
_OPTIONS_REFUSED: Final = "unsupported startup parameter"
#: PostgreSQL: "password authentication failed", "PAM authentication failed"; PgBouncer: "SASL authentication failed".
_WRONG_PASSWORD: Final = "authentication failed"


def postgres_engine(
    url: URL,
    *,
    pool_size: int,
    password: DatabasePassword | None,
    search_path: str | None = None,
    trusted_s: float = 0.0,
) -> Engine:
    """Make the engine of a PostgreSQL, or of a pooler before it.

    Args:
        url: where it is.
        pool_size: connections that stay open.
        password: where the password comes from; None: the URL holds it, or libpq finds it.
        search_path: the schema that names of tables mean; None: the role's own.
        trusted_s: a connection that was used so recently is used again without asking whether it still is one.
    """
    session = {name: f"{seconds}s" for name, seconds in _TIMEOUTS.items()}
    if search_path is not None:
        session["search_path"] = search_path
    # One message to the server, as `BEGIN` alone would be.
    begin_pooled = "; ".join(["BEGIN", *(f"SET LOCAL {name} = '{value}'" for name, value in session.items())])
    engine = create_engine(
        url,
        pool_size=pool_size,
        pool_pre_ping=not trusted_s,
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "keepalives_idle": 10,
            "tcp_user_timeout": 10_000,
            "application_name": "refreshd",
        },
    )
    if trusted_s:
        _ping_after(engine, trusted_s)
    connector = _Connector(password, " ".join(f"-c {name}={value}" for name, value in session.items()))

    @event.listens_for(engine, "do_connect")
    def connect(
        dialect: Dialect, record: ConnectionPoolEntry, cargs: list[Any], cparams: dict[str, Any]
    ) -> Any:
        driver, record.info[_POOLED] = connector.connect(dialect, cargs, cparams)
        return driver

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if is_pooled(connection):
            with driver_of(connection) as driver:  # SQLAlchemy lets errors of listeners through as they are
                driver.execute(begin_pooled)

    return engine


def _ping_after(engine: Engine, trusted_s: float) -> None:
    """Ask a connection whether it still is one, as `pool_pre_ping` does, where it has not been used for so long."""

    @event.listens_for(engine, "checkin")
    def given_back(_driver: Any, record: ConnectionPoolEntry) -> None:
        record.info[_USED_AT] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def taken(driver: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        used_at = record.info.get(_USED_AT)
        if used_at is None or time.monotonic() - used_at < trusted_s:
            return
        try:
            alive = engine.dialect.do_ping(driver)
        except engine.dialect.loaded_dbapi.Error:
            alive = False
        if not alive:
            raise InvalidatePoolError


def is_pooled(connection: Connection) -> bool:
    """Return whether a pooler stands between: such a connection begins its transactions itself."""
    return bool(connection.info.get(_POOLED))


@contextmanager
def driver_of(connection: Connection) -> Iterator[Any]:
    """Yield psycopg's connection, for statements past SQLAlchemy; no listener sees them.

    Raises:
        DBAPIError: a statement failed, as SQLAlchemy would raise it; a lost connection is given up.
    """
    driver: Any = connection.connection.driver_connection
    api: Any = connection.dialect.dbapi
    try:
        yield driver
    except api.Error as error:
        lost = bool(driver.closed)
        raised = DBAPIError.instance(
            None,
            None,
            error,
            api.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=connection.dialect,
        )
        if lost:
            connection.invalidate(error)
        raise raised from error


class _Connector:
    """Opens connections, and remembers what stands between."""

    def __init__(self, password: DatabasePassword | None, options: str) -> None:
        self._password = password
        self._options = options
        self._options_refused = False

    def connect(self, dialect: Dialect, cargs: list[Any], cparams: dict[str, Any]) -> tuple[Any, bool]:
        """Open a connection, and return whether a pooler stands between: then it is in autocommit, and prepares nothing."""
        driver = self._open(dialect, cargs, cparams)
        try:
            pid, statement_timeout = driver.execute(
                "SELECT pg_backend_pid(), current_setting('statement_timeout')"
            ).fetchone()
            straight = pid == driver.info.backend_pid and statement_timeout in _same(STATEMENT_TIMEOUT_S)
            if straight:
                driver.autocommit = False
            else:
                driver.prepare_threshold = None
        except BaseException:
            with suppress(Exception):
                driver.close()
            raise
        return driver, not straight

    def _open(self, dialect: Dialect, cargs: list[Any], cparams: dict[str, Any]) -> Any:
        import psycopg  # late: who uses SQLite does not load it

        if not self._options_refused:
            try:
                return self._authenticated(dialect, cargs, {**cparams, "options": self._options})
            except psycopg.OperationalError as error:
                if _OPTIONS_REFUSED not in str(error):
                    raise
            self._options_refused = True
            log.info("database_pooler", remark="it takes no options: time-outs are set in each transaction")
        return self._authenticated(dialect, cargs, cparams)

    def _authenticated(self, dialect: Dialect, cargs: list[Any], cparams: dict[str, Any]) -> Any:
        """Open a connection; a password that changed a moment ago is read again, once."""
        import psycopg

        if self._password is None:
            return dialect.connect(*cargs, **cparams, autocommit=True)
        current = self._password.current()
        try:
            return dialect.connect(*cargs, **{**cparams, "password": current}, autocommit=True)
        except psycopg.OperationalError as error:
            newer = self._password.after(current) if _WRONG_PASSWORD in str(error) else None
            if newer is None:
                raise
        return dialect.connect(*cargs, **{**cparams, "password": newer}, autocommit=True)


def _same(seconds: int) -> tuple[str, str]:
    """Return how PostgreSQL shows a time: in the largest unit that divides it."""
    return f"{seconds}s", f"{seconds // 60}min"
