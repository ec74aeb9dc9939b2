"""What refreshd says about itself: log lines of one stable name with key/values, and the names of events."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from functools import lru_cache
from typing import Any

import structlog

from models.token import Secret


class EventType(StrEnum):
    """Types of the entries of `refreshd:events`."""

    REFRESHED = "refreshed"
    FAILED = "failed"
    DEGRADED = "degraded"
    REAUTHORIZE = "reauthorize"
    MISCONFIGURED = "misconfigured"
    RECOVERED = "recovered"
    EXPIRING = "expiring"


log: structlog.stdlib.BoundLogger = structlog.get_logger("refreshd")

#: Celery's loggers that say a line for each message received and each task done; our own lines tell more.
_TASK_BY_TASK = ("celery.worker.strategy", "celery.app.trace")

_SECRET_NAMES = ("token", "secret", "password", "authorization", "assertion", "private_key", "api_key")
_NOT_SECRET = ("token_url", "token_type", "secret_fp", "refresh_fp", "received_fp")


def configure_logging(level: str = "INFO") -> None:
    """Log to stderr: readable on a terminal, one JSON object a line otherwise."""
    structlog.configure(
        processors=[*_noting(), redact, _renderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=_to_stderr,
        cache_logger_on_first_use=False,
    )


def _to_stderr(*_: Any) -> structlog.PrintLogger:
    """Look the stream up for each line: the one that stood there when this was configured may be closed since."""
    return structlog.PrintLogger(sys.stderr)


def log_celery(level: int) -> None:
    """Show what Celery itself says, in the same form, from `level` on (`--loglevel`)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_noting(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                _renderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    if level > logging.DEBUG:
        for name in _TASK_BY_TASK:
            logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _noting() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _renderer() -> structlog.typing.Processor:
    if sys.stderr.isatty():
        return structlog.dev.ConsoleRenderer()
    return structlog.processors.JSONRenderer(default=str)


def redact(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Hide what is named like a secret: a second net below `Secret`, which hides itself."""
    for name, value in event.items():
        if isinstance(value, Secret) or _is_secret(name):
            event[name] = "**********"
    return event


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    lowered = name.lower()
    return lowered not in _NOT_SECRET and any(word in lowered for word in _SECRET_NAMES)
