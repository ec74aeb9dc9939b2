"""Statements of one round trip to PostgreSQL: libpq sends them in one message, and the thread waits once for all answers.

psycopg's own pipeline waits for the socket, and sends, at each statement: ten times in a commit where two are enough, and
at each a thread and the event loop hand the interpreter's lock over.
"""

from __future__ import annotations

import re
import select
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, Final

#: The text of a statement, and the types of its parameters.
_Key = tuple[bytes, tuple[int, ...]]
#: What was prepared on a connection, and under which name.
Prepared = MutableMapping[_Key, bytes]

#: Statements that a connection keeps prepared: those that are sent here are few, and their texts do not change.
PREPARED_MAX: Final = 100
_PARAMETER: Final = re.compile(r"%(?:\((\w+)\)s|%)")
#: Names of prepared statements. None is used twice: one whose pipeline failed may be there or not.
_names = count()


class Rows:
    """The rows of a statement, which are there once the round trip has ended."""

    def __init__(self) -> None:
        self.found: Sequence[Sequence[Any]] = ()

    def fetchall(self) -> Sequence[Sequence[Any]]:
        """Return them."""
        return self.found


class RoundTrip:
    """Statements that are sent together, in the transaction that is open or that the first of them begins.

    Args:
        driver: psycopg's connection, without a pooler before the server.
        prepared: what was prepared on it.
    """

    def __init__(self, driver: Any, prepared: Prepared) -> None:
        from psycopg.adapt import PyFormat, Transformer  # late: who uses SQLite does not load it

        self._driver = driver
        self._prepared = prepared
        self._adapted = Transformer(driver)
        self._auto = PyFormat.AUTO
        self._queued: list[tuple[_Key, Sequence[Any], Sequence[Any], Rows]] = []
        self._commits = False

    def send(self, statement: str, parameters: Mapping[str, Any]) -> Rows:
        """Queue a statement, its parameters named as `%(name)s`."""
        sql, names = _numbered(statement)
        adapted = self._adapted
        values = adapted.dump_sequence([parameters[name] for name in names], [self._auto] * len(names))
        rows = Rows()
        self._queued.append(((sql, tuple(adapted.types or ())), values, adapted.formats or (), rows))
        return rows

    def commit(self) -> None:
        """End the transaction behind what was queued; where that fails, nothing of it is stored."""
        self._commits = True

    def run(self) -> None:
        """Send what was queued, and wait for its rows.

        Raises:
            psycopg.Error: a statement failed; those behind it were not run.
        """
        if not self._queued:
            return
        from psycopg.errors import InvalidSqlStatementName
        from psycopg.pq import TransactionStatus

        idle = TransactionStatus.IDLE
        nothing_before = self._driver.pgconn.transaction_status == idle
        try:
            self._run(idle)
        except InvalidSqlStatementName:  # the session was cleared by somebody else
            self._prepared.clear()
            if not nothing_before:
                raise
            self._driver.rollback()
            self._run(idle)

    def _run(self, idle: Any) -> None:
        if not self._prepared:
            # With a rollback psycopg clears the session, if it has prepared a statement itself: so none of ours stays behind.
            self._driver.execute("SELECT 1", prepare=True)
        pgconn = self._driver.pgconn
        begins = pgconn.transaction_status == idle
        new: dict[_Key, bytes] = {}
        pgconn.enter_pipeline_mode()
        try:
            sent = list(self._sent(pgconn, new, begins=begins))
            pgconn.pipeline_sync()
            answers = _answers(pgconn)
            pgconn.exit_pipeline_mode()
        except BaseException:
            self._driver.close()  # what is on its way would be read as the next statement's answer
            raise
        self._read(answers, sent)
        self._prepared.update(new)

    def _sent(self, pgconn: Any, new: dict[_Key, bytes], *, begins: bool) -> Iterator[Rows | None]:
        """Send; yields for each message where its rows go to. What is prepared for later is added to `new`."""
        if begins:
            pgconn.send_query_params(b"BEGIN", None)
            yield None
        for key, values, formats, rows in self._queued:
            sql, types = key
            name = self._prepared.get(key) or new.get(key)
            if name is None and len(self._prepared) + len(new) < PREPARED_MAX:
                name = new[key] = b"refreshd_%d" % next(_names)
                pgconn.send_prepare(name, sql, types)
                yield None
            if name is None:
                pgconn.send_query_params(sql, values, types, formats)
            else:
                pgconn.send_query_prepared(name, values, formats)
            yield rows
        if self._commits:
            pgconn.send_query_params(b"COMMIT", None)
            yield None

    def _read(self, answers: Sequence[Any], sent: Iterable[Rows | None]) -> None:
        from psycopg.errors import error_from_result
        from psycopg.pq import ExecStatus

        for answer, rows in zip(answers, sent, strict=True):
            if answer.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(answer, encoding=self._driver.info.encoding)
            if rows is not None and answer.status == ExecStatus.TUPLES_OK:
                self._adapted.set_pgresult(answer)
                rows.found = self._adapted.load_rows(0, answer.ntuples, tuple)


def _answers(pgconn: Any) -> list[Any]:
    """Send what remains, and return the answer to each message up to the end of the pipeline.

    Raises:
        psycopg.OperationalError: the connection was lost.
    """
    from psycopg.pq import ExecStatus

    found: list[Any] = []
    socket = select.poll()
    unsent = pgconn.flush()
    while True:
        socket.register(pgconn.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
        socket.poll()
        pgconn.consume_input()
        unsent = pgconn.flush() if unsent else 0
        ended = False  # of one message's answer; a second end means that no more has come
        while not pgconn.is_busy():
            answer = pgconn.get_result()
            if answer is None and ended:
                break
            ended = answer is None
            if answer is None:
                continue
            if answer.status == ExecStatus.PIPELINE_SYNC:
                return found
            found.append(answer)


@lru_cache(maxsize=PREPARED_MAX)
def _numbered(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement with numbered parameters, as libpq takes it, and the name of each number."""
    names: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        name = found[1]
        return "%" if name is None else f"${names.setdefault(name, len(names) + 1)}"

    sql = _PARAMETER.sub(number, statement)
    return sql.encode(), tuple(names)
