"""What refreshd says about itself: log lines of one stable name with key/values, and the names of events.

structlog takes longer to import than a short command runs, and such a command has nothing to say: it is imported with the
first line, or with the configuration of a process that will write many.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

#: The level that a command logs from; None: nothing waits to be configured.
_waiting: str | None = None


class _Log:
    """Stands for structlog's logger."""

    def __getattr__(self, name: str) -> Any:
        _configure_what_waits()
        from worker.log.lines import lines

        return getattr(lines, name)


log: Final = cast("BoundLogger", _Log())


def configure_logging(level: str = "INFO") -> None:
    """Log to stderr: sentences on a terminal, one JSON object a line otherwise, and where REFRESHD_LOG is `json`."""
    global _waiting  # noqa: PLW0603  (a process has one log)
    _waiting = None
    from worker.log.lines import configure

    configure(level)


def log_late(level: str) -> None:
    """Do the same with the first line that is written, ours or a library's."""
    global _waiting  # noqa: PLW0603  (a process has one log)
    _waiting = level
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_Late())


def log_no_later() -> None:
    """Have nothing wait any more that `log_late` announced: the command has ended, its process may go on."""
    global _waiting  # noqa: PLW0603  (a process has one log)
    _waiting = None
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, _Late)]:
        root.removeHandler(handler)


class _Late(logging.Handler):
    """Gives way to the real handler when there is a record."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger().removeHandler(self)
        _configure_what_waits()
        logging.getLogger().handle(record)


def _configure_what_waits() -> None:
    if _waiting is not None:
        configure_logging(_waiting)


def log_celery(level: int) -> None:
    """Show what Celery itself says, in the same form, from `level` on (`--loglevel`)."""
    from worker.log.lines import celery

    celery(level)


def correlate(**facts: str | None) -> None:
    """Have every line of this thread, and of what it starts, carry these facts, and no others."""
    from structlog.contextvars import bind_contextvars, clear_contextvars

    clear_contextvars()
    bind_contextvars(**{name: fact for name, fact in facts.items() if fact})
