"""A process that starts before its database answers: it waits for it, within bounds, and its log says so.

A machine that boots, a PostgreSQL that recovers ("the database system is starting up"), a failover, and PgBouncer within its
`server_login_retry` are over in seconds. To end instead leaves the next try to a supervisor, whose pauses grow.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from worker.errors import DatabaseUnreachable
from worker.log import log

T = TypeVar("T")

#: Four times PgBouncer's `server_login_retry` (15 s), and half of what Kubernetes gives a worker to start
#: (`deploy/kubernetes/base/worker.yaml`).
WAIT_S: Final = 60.0
_PAUSE_S: Final = 1.0


def once_reachable(open_database: Callable[[], T], *, wait_s: float = WAIT_S, pause_s: float = _PAUSE_S) -> T:
    """Return what opens the database, once that succeeds; each new cause is a line of the log.

    Raises:
        DatabaseUnreachable: it did not answer within `wait_s`.
    """
    began, cause = time.monotonic(), ""
    while True:
        try:
            opened = open_database()
        except DatabaseUnreachable as error:
            if time.monotonic() - began >= wait_s:
                raise
            if str(error) != cause:
                cause = str(error)
                log.warning("database_awaited", wait_s=wait_s, error=cause)
            time.sleep(pause_s)
        else:
            if cause:
                log.info("database_reached", waited_s=round(time.monotonic() - began, 1))
            return opened
