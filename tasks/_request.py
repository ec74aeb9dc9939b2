"""What Flower shows of a task that did not do all that it was asked for: its state, one sentence, and the result.

Celery knows a state from how a task ends. One that returns has succeeded, so a task raises where something failed
(`FAILURE`: somebody has to act) or will be tried again (`RETRY`: nobody has to). Celery's events then carry an
exception's repr and a traceback, and no result; `TaskRequest` says it better.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, NoReturn

from celery.exceptions import Retry
from celery.utils.saferepr import saferepr
from celery.worker.request import Request
from celery.worker.state import revoked as revoked_tasks

from worker.clock import shared_now
from worker.monitoring.flower_format import is_idle


class Unfinished(Exception):
    """A task's work, or a part of it, that was not done; holds what the task would have returned."""

    def __init__(self, words: str, result: Mapping[str, Any], runtime_s: float | None = None) -> None:
        super().__init__(words, result, runtime_s)
        self.words = words
        self.result = result
        self.runtime_s = runtime_s

    def __str__(self) -> str:
        return self.words


def failed(words: str, result: Mapping[str, Any], runtime_s: float | None = None) -> NoReturn:
    """End a task as failed: somebody has to do something about it."""
    raise Unfinished(words, result, runtime_s)


def retried(words: str, result: Mapping[str, Any], runtime_s: float | None = None) -> NoReturn:
    """End a task as one that is tried again: by the plan, which sends a new message when its time has come."""
    raise Retry(words, exc=Unfinished(words, result, runtime_s))


class TaskRequest(Request):
    """A task's message in the worker: its end is the fleet's time, and its last event tells what became of it."""

    def maybe_expire(self) -> Literal[True] | None:
        """Return True if the message has ended by the clock that its sender named the end by."""
        end: datetime | None = self.expires
        if end is None or shared_now() <= (end if end.tzinfo else end.replace(tzinfo=UTC)).timestamp():
            return None
        revoked_tasks.add(self.id)
        return True

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        self._unfinished = _unfinished(exc_info.exception)
        return super().on_failure(exc_info, *args, **kwargs)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002  (Celery's name)
        super().send_event(type, **self.in_words(fields))

    def in_words(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return an event's fields, with what was not done where something was not done."""
        if (known := getattr(self, "_unfinished", None)) is not None:
            fields |= {
                "exception": known.words,
                "traceback": None,  # of the line that raises, for all of them
                "result": saferepr(dict(known.result), self.task.resultrepr_maxsize),
            }
            if known.runtime_s is not None:
                fields["runtime"] = known.runtime_s
        return fields


class PeriodicRequest(TaskRequest):
    """The message of a task that beat asks for, which Flower shows only where it did something, or could not.

    Celery sends `task-received` past `send_event`, before anybody knows what the task will find. Such a task therefore
    sends no events of Celery's (`send_events=False`), and all of its own at its end.
    """

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002  (Celery's name)
        events: Any = getattr(self, "_eventer", None)  # celery-types leaves it out
        if type not in _ENDS or events is None or not events.enabled:
            return
        fields = self.in_words(fields)
        if type == _SUCCEEDED and is_idle(fields.get("result")):
            return
        asked = {"name": self.name, "args": self.argsrepr, "kwargs": self.kwargsrepr, "retries": 0}
        events.send("task-received", uuid=self.id, root_id=self.root_id, parent_id=self.parent_id, **asked)
        events.send("task-started", uuid=self.id)
        events.send(type, uuid=self.id, **fields)


_SUCCEEDED: Final = "task-succeeded"
_ENDS: Final = frozenset({_SUCCEEDED, "task-failed", "task-retried", "task-revoked", "task-rejected"})


def _unfinished(error: object) -> Unfinished | None:
    """Look into what Celery wraps an exception with, on its way through a retry or from a child process."""
    while error is not None and not isinstance(error, Unfinished):
        error = getattr(error, "exc", None)
    return error
