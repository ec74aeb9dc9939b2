"""Log lines: structlog, the standard library's records beside it, and their form on a terminal and elsewhere."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from typing import Any, Final

import structlog

from worker.log.sentence import Sentence
from worker.redaction.log import IDENTIFIERS, NUMBERS, SHORTEST, is_secret, redacted

lines: structlog.stdlib.BoundLogger = structlog.get_logger("refreshd")

#: `json` has a terminal show what a file gets. Read here, for lines are written before settings are.
FORMAT: Final = "REFRESHD_LOG"
#: Celery's loggers that say a line for each message received and each task done; our own lines tell more.
_TASK_BY_TASK = ("celery.worker.strategy", "celery.app.trace")


def configure(level: str) -> None:
    """Log to stderr: sentences on a terminal, one JSON object a line otherwise, and where REFRESHD_LOG is `json`."""
    structlog.configure(
        processors=[*_noting(), *_showing()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _lines,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    if not root.handlers:  # else what libraries warn of would reach stderr as it is
        root.addHandler(handler())


class _Lines(threading.local):
    """Writes our lines to stderr; those of one turn of an event loop together, at its end.

    A write lets go of the interpreter's lock and has to get it back, and a batch of answers says a line for each.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._said: list[str] = []

    def msg(self, line: str) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            _write(f"{line}\n")
            return
        if not self._said or self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._write_all)
        self._said.append(f"{line}\n")

    debug = info = warning = error = critical = msg

    def _write_all(self) -> None:
        said, self._said = self._said, []
        _write("".join(said))


def _write(text: str) -> None:
    """Look the stream up each time: the one that stood there when this was configured may be closed since."""
    sys.stderr.write(text)
    sys.stderr.flush()


_lines: Final = _Lines()


def celery(level: int) -> None:
    """Show what Celery itself says, in the same form, from `level` on (`--loglevel`)."""
    root = logging.getLogger()
    root.handlers = [handler()]
    root.setLevel(level)
    if level > logging.DEBUG:
        for name in _TASK_BY_TASK:
            logging.getLogger(name).setLevel(max(level, logging.WARNING))


class _Stderr(logging.Handler):
    """Looks the stream up for each record, as our own lines do."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _write(f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001  (logging's own rule: what can't be logged ends nothing)
            self.handleError(record)


def handler() -> logging.Handler:
    """Return the handler by which records of the standard library take the same way as our own lines."""
    handler = _Stderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_noting(), structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_showing()],
        )
    )
    return handler


def _noting() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _showing() -> list[structlog.typing.Processor]:
    """Exceptions become text first, so that the net holds for them too."""
    return [structlog.processors.format_exc_info, redact, _renderer()]


def _renderer() -> structlog.typing.Processor:
    if sys.stderr.isatty() and os.environ.get(FORMAT) != "json":
        return Sentence(colours="NO_COLOR" not in os.environ)
    return _as_json


#: `json.dumps` makes a new encoder a call where it gets a default.
_JSON: Final = json.JSONEncoder(default=str)


def _as_json(_logger: Any, _method: str, event: structlog.typing.EventDict) -> str:
    return _JSON.encode(event)


def redact(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Mask what is named or looks like a secret: a second net below `Secret`, which hides itself."""
    for name, value in event.items():
        # What nearly every value is, without another call: each refresh writes a line.
        kind = type(value)
        if value is None or name in IDENTIFIERS or (kind in NUMBERS and not is_secret(name)):
            continue
        if kind is str and len(value) < SHORTEST and not is_secret(name):
            continue
        event[name] = redacted(name, value)
    return event
